"""profile's handler where the machine does not come: crowds, and records of somebody else's making."""

import json

import pytest

from services.chassis.avro import Codec
from services.chassis.errors import Fatal
from services.chassis.ids import partition_of
from services.chassis.records import Decision, Record
from services.chassis.redis.slots import Slot
from services.chassis.registry import open_registry
from services.chassis.testing.fake_ledger import FakeLedger
from services.profile.codec import Reader
from services.profile.handler import ProfileHandler
from services.profile.handovers import Handovers
from tests.property.customer_log.graph_feed import LOG, TOPIC, TOUCHPOINT
from tests.unit.profile.profile_builders import CONFIG, NOW_MS

PARTITIONS = 1
SLOT = Slot("profile", 0)


def handler(ledger: FakeLedger, waits: dict[str, str]) -> ProfileHandler:
    return ProfileHandler(SLOT, ledger, waits, CONFIG, PARTITIONS, lambda: None, 0)


def decide(one: ProfileHandler, *records: Record) -> Decision:
    decision = one.decide(list(records), [], NOW_MS)
    assert decision is not None
    return decision


def event(customer: str, n: int, node: str = "phone:1") -> Record:
    value = TOUCHPOINT.encode(
        {
            "event_id": f"{customer}-{n}", "source": "shop", "type": "track", "name": "Visited",
            "identifiers": [node], "occurred_at": NOW_MS, "received_at": NOW_MS,
        }
    )  # fmt: skip
    headers = {"kind": b"event", "n": b"%d" % n, "src": b"1.0.%d" % n, "node": node.encode()}
    return Record(TOPIC, 0, n, customer.encode(), value, headers, NOW_MS)


def identify(customer: str, n: int, traits: dict[str, str], *identifiers: str) -> Record:
    record = event(customer, n)
    touchpoint = TOUCHPOINT.decode(record.value)
    touchpoint |= {"traits": json.dumps(traits).encode(), "type": "identify", "name": f"{n:0200}"}
    record.value = TOUCHPOINT.encode(touchpoint | {"identifiers": list(identifiers) or touchpoint["identifiers"]})
    record.headers["node"] = (identifiers or ("phone:1",))[0].encode()
    return record


def take(customer: str, n: int, value: bytes | None = None) -> Record:
    fields = {"kind": "take", "customer_id": customer, "n": n, "cause": "1.0.9.0", "accepted_at": 1}
    value = value if value is not None else LOG.encode({**fields, "handoff_id": "1.0.9.0", "from_id": "giver"})
    headers = {"kind": b"take", "n": b"%d" % n, "src": b"1.0.9"}
    return Record(TOPIC, 0, n, customer.encode(), value, headers, NOW_MS)


def test_more_customers_wait_than_the_cache_holds() -> None:
    waits = {f"waiting{i}": f"{{profile:0}}:give:1.0.{i}.0:waiting{i}" for i in range(25_000)}
    one = handler(FakeLedger(), waits)
    decision = decide(one, event("anna", 1), *(event(f"waiting{i}", 2) for i in range(3)))
    assert SLOT.key("c", "anna") in decision.sets
    assert one.decide([], [], NOW_MS) is None


def test_a_batch_may_be_larger_than_the_cache() -> None:
    decision = decide(handler(FakeLedger(), {}), *(event(f"c{i}", 1) for i in range(10_300)))
    assert len(decision.sets) == 10_300


@pytest.mark.parametrize("value", [b"", b"\0garbage"])
def test_a_hand_over_that_cannot_be_read_is_never_skipped(value: bytes) -> None:
    with pytest.raises(Fatal, match="a take cannot be read"):
        decide(handler(FakeLedger(), {}), take("anna", 1, value))


@pytest.mark.parametrize(
    ("key", "headers"),
    [
        (b"anna", {}),
        (b"anna", {"kind": b"event", "n": b"", "src": b"1.0.1"}),
        (b"anna", {"kind": b"event", "n": b"one", "src": b"1.0.1"}),
        (b"\xff\xfe", {"kind": b"event", "n": b"1", "src": b"1.0.1"}),
        (b"anna", {"kind": b"\xff", "n": b"1", "src": b"1.0.1"}),
        (b"anna", {"kind": b"gift", "n": b"1", "src": b"1.0.1"}),
    ],
)
def test_a_record_that_identity_did_not_write_is_put_aside(key: bytes, headers: dict[str, bytes]) -> None:
    foreign = Record(TOPIC, 0, 5, key, event("anna", 1).value, headers, NOW_MS)
    decision = decide(handler(FakeLedger(), {}), foreign, event("bert", 1))
    dead = [Codec("dead_letter").decode(o.value) for o in decision.outputs if o.topic == "profile.dead"]
    assert [(one["offset"], one["key"]) for one in dead] == [(5, key)]
    assert "not written by identity" in dead[0]["error"]
    assert json.loads(dead[0]["headers"]).keys() == headers.keys()
    assert decision.sets.keys() == {SLOT.key("c", "bert")}


def test_the_hand_over_key_lies_in_the_givers_slot() -> None:
    one = Handovers(FakeLedger(), Reader(open_registry()), 8)
    assert one.key("giver", "1.0.9.0", "anna") == Slot("profile", partition_of(b"giver", 8)).key("give", "1.0.9.0:anna")


def test_no_output_is_larger_than_the_broker_takes() -> None:
    """Whatever a source writes into traits, names and identifiers: the partition must be able to go on."""
    long = "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 10_000
    records = [identify("anna", n, {f"trait {n}": long}, f"device_id:{n:0250}") for n in range(1, 400)]
    outputs = decide(handler(FakeLedger(), {}), *records, event("anna", 400)).outputs
    assert {output.topic for output in outputs} == {"profile.changes", "profiles"}
    assert max(len(output.value or b"") for output in outputs) < 900_000
    last = json.loads(Codec("profile_change").decode(outputs[-2].value)["profile"])
    assert 5 < len(last["traits"]) < 10
    assert last["traits"].keys() == set(sorted(f"trait {n}" for n in range(1, 400))[: len(last["traits"])])
