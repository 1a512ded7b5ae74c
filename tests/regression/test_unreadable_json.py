"""Found by reading: only DecodeError was caught, and these two stopped the partition for everybody in it."""

import pytest

from services.profile.core.contribution import ContributionError, contribution
from tests.unit.profile.profile_builders import CONFIG, event, part_of

NO_UTF8 = b'{"coupon":"\xc3\x28"}'
NESTED = b'{"coupon":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("properties", [NO_UTF8, NESTED, b'{"coupon":1e999}', b'{"coupon":', b"\xff"], ids=range(5))
def test_properties_that_cannot_be_read_count_nothing_and_the_event_counts(properties):
    part = part_of(event("Order Completed", properties=properties))
    assert part.measures == {}
    assert part.counters["Order Completed"].total == 1
    assert "coupon_orders" in {measure.name for measure in CONFIG.catalogue.measures["Order Completed"]}


@pytest.mark.parametrize("traits", [NO_UTF8, NESTED], ids=["no UTF-8", "nested"])
def test_traits_that_cannot_be_read_are_poison(traits):
    touchpoint = {
        "event_id": "e", "type": "identify", "name": "Identified", "source": "crm", "occurred_at": 1, "received_at": 1,
        "order_id": "", "amount_minor": 0, "currency": "", "traits": traits, "flags": 0, "identifiers": [],
        "properties": b"",
    }  # fmt: skip
    with pytest.raises(ContributionError, match=r"touchpoint at 1\.0\.9: traits"):
        contribution(touchpoint, "1.0.9")
