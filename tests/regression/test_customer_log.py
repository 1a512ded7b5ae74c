"""profile and the customer log: what went wrong once in working off a customer's records."""

import json

import pytest

from services.chassis.avro import Codec
from services.chassis.ids import partition_of
from services.chassis.records import Decision, Record
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger
from services.profile.handler import ProfileHandler
from tests.property.customer_log.graph_feed import LOG, TOPIC, TOUCHPOINT
from tests.unit.profile.profile_builders import CONFIG, NOW_MS

SLOT = Slot("profile", 0)
MERGE = "1.0.7"


def open_handler(ledger: FakeLedger) -> ProfileHandler:
    return ProfileHandler(SLOT, ledger, {}, CONFIG, 1, lambda: None, 0)


def event(customer: str, n: int, place: str, name: str = "Visited") -> Record:
    value = TOUCHPOINT.encode(
        {
            "event_id": f"{customer}-{n}", "source": "shop", "type": "track", "name": name,
            "identifiers": [f"phone:{customer}"], "occurred_at": NOW_MS, "received_at": NOW_MS,
        }
    )  # fmt: skip
    headers = {"kind": b"event", "n": b"%d" % n, "src": place.encode(), "node": f"phone:{customer}".encode()}
    return Record(TOPIC, 0, n, customer.encode(), value, headers, NOW_MS)


def hand_over(kind: str, customer: str, n: int, **fields: object) -> Record:
    common = {"kind": kind, "customer_id": customer, "n": n, "cause": f"{MERGE}.0", "accepted_at": NOW_MS}
    headers = {"kind": kind.encode(), "n": b"%d" % n, "src": MERGE.encode()}
    return Record(TOPIC, 0, n, customer.encode(), LOG.encode(common | fields), headers, NOW_MS)


def decide(ledger: FakeLedger, *records: Record) -> Decision:
    """The handler's decision, whose values the ledger then has."""
    decision = open_handler(ledger).decide(list(records), [], NOW_MS)
    assert decision is not None
    ledger.connection.server.strings |= decision.sets
    return decision


def profiles(decision: Decision) -> dict[str, dict[str, object]]:
    """Customer → its snapshot."""
    found = [Codec("profile").decode(output.value) for output in decision.outputs if output.topic == "profiles"]
    return {str(one["customer_id"]): one for one in found}


def test_a_take_and_an_event_of_one_touchpoint_share_a_place() -> None:
    """The touchpoint that merges two customers is also an event of the one that stays: both records stand at its place.

    Decoded records were kept by place; the take was read as the event and the customer waited for ever.
    """
    ledger = FakeLedger()
    pieces = [{"handoff_id": f"{MERGE}.0", "to_id": "anna", "nodes": []}]
    decide(ledger, event("bert", 1, "1.0.1"), hand_over("give", "bert", 2, pieces=pieces))
    # The first record comes last (from another partition of identity): the others are held, and decoded, together.
    decision = decide(
        ledger,
        hand_over("take", "anna", 2, handoff_id=f"{MERGE}.0", from_id="bert"),
        event("anna", 3, MERGE),
        event("anna", 1, "1.0.2"),
    )
    assert decision.waits.get("anna") is None
    assert profiles(decision)["anna"]["n"] == 3
    kinds = [Codec("profile_change").decode(o.value)["kind"] for o in decision.outputs if o.topic == "profile.changes"]
    assert kinds == ["event", "took", "event"]


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"", b'{"hello": "from a console producer"}', {}),
        (b"anna", None, {}),
        (b"anna", b"x", {"kind": b"event"}),
        (b"\xff", b"x", {"kind": b"event", "n": b"1", "src": b"1.0.1"}),
        (b"anna", b"x", {"kind": b"event", "n": b"-1", "src": b"1.0.1"}),
    ],
)
def test_a_foreign_record_is_a_dead_letter_and_no_crash(
    key: bytes, value: bytes | None, headers: dict[str, bytes]
) -> None:
    """A record that identity did not write has not its headers: reading them stopped the partition for ever."""
    foreign = Record(TOPIC, 0, 5, key, value, headers, NOW_MS)
    decision = decide(FakeLedger(), foreign, event("bert", 1, "1.0.1"))
    dead = [output for output in decision.outputs if output.topic == "profile.dead"]
    letters = [Codec("dead_letter").decode(output.value) for output in dead]
    assert [(letter["offset"], letter["key"], letter["value"]) for letter in letters] == [(5, key, value or b"")]
    assert [output.partition for output in dead] == [partition_of(key, 1)]
    assert json.loads(letters[0]["headers"]).keys() == headers.keys()
    assert profiles(decision).keys() == {"bert"}
