"""Two amounts that ingest takes and whose sum has more than 64 bits stopped the partition for ever.

Such a customer says the largest amount there is; everybody else goes on.
"""

import pytest

from services.chassis.avro import Codec
from services.profile.core.rfm import score
from services.profile.core.state import MAX_MINOR, encode
from services.profile.core.summary import profile_json, snapshot_fields
from services.profile.core.tagging.facts import Facts
from services.profile.core.tags import conclude
from services.profile.core.view import view
from tests.unit.profile.profile_builders import CONFIG, CUTS, NOW_MS, at, decode_part, event, part_of, purchase, refund


def line(amount_minor):
    return event("Order Line Completed", order_id="A", amount_minor=amount_minor, currency="CNY", occurred_at=at(1))


BILLS = {
    "orders": ([purchase(1, MAX_MINOR), purchase(2, MAX_MINOR)], MAX_MINOR),
    "lines": ([line(MAX_MINOR), line(MAX_MINOR)], MAX_MINOR),
    "refunds of a day": ([refund(1, MAX_MINOR), refund(1, MAX_MINOR)], -MAX_MINOR),
    "refunds of two days": ([refund(1, MAX_MINOR), refund(2, MAX_MINOR), purchase(3, 5)], -MAX_MINOR),
    "refunds of an order": (
        [refund(1, MAX_MINOR, order_id="A", occurred_at=at(1)), refund(1, MAX_MINOR, order_id="A", occurred_at=at(1))],
        -MAX_MINOR,
    ),
}


@pytest.mark.parametrize("name", BILLS)
def test_sums_beyond_64_bits_stop_nobody(name):
    events, net = BILLS[name]
    part = part_of(*events)
    assert encode(part) == encode(part_of(*reversed(events)))
    one = view([decode_part(encode(part)), part_of(event())], NOW_MS, CONFIG)
    rfm = score(one, CUTS, CONFIG)
    conclusion, _ = conclude(Facts(one, rfm, CUTS, CONFIG), [], "1.0.1", NOW_MS, CONFIG)
    assert profile_json("c", one, conclusion, rfm)
    fields = {"customer_id": "c", "rev": 1, "n": 1, "deleted": False, "nodes": [], "updated_at": 1}
    assert Codec("profile").encode(snapshot_fields(one, conclusion, rfm) | fields)
    assert rfm.monetary_minor == net
