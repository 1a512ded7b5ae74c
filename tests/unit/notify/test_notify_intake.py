"""Triggers in: durable intents first, then acknowledgements in order; what cannot be read becomes a dead letter."""

import json
from typing import Any

import pytest

from services.chassis.avro import Codec
from services.chassis.errors import Retriable
from services.chassis.health import Health
from services.chassis.ids import partition_of, stable_id
from services.chassis.records import Output, Record
from services.chassis.registry import open_registry
from services.chassis.testing.clock import FakeClock
from services.notify import metrics
from services.notify.adapters.store import Store
from services.notify.handler.intake import Incoming, Intake, Planner
from services.notify.handler.persist import Persistence
from tests.unit.notify.notify_builders import CUSTOMER, MemoryLog, routes, templates, trigger_record

EMAIL = {"channel": "email", "template": "hello"}
WEBHOOK = {"channel": "webhook", "template": "hello"}


class Bench:
    """An intake over a real store, and what it did."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.log = store, MemoryLog()
        self.trigger, self.delivery = Codec("trigger"), Codec("delivery")
        self.acknowledged: list[int] = []
        self.woken: list[set[str]] = []
        planner = Planner(self.trigger.decode, self.delivery.encode, routes(), templates(), 4, clock, open_registry())
        self.intake = Intake(planner, store, Persistence(Health()), self.publish, self.woken.append, 10)

    async def publish(self, output: Output) -> None:
        await self.log.publish(output.topic, output.partition, [output])

    def incoming(self, value: bytes, offset: int = 0, seq: bytes = b"") -> Incoming:
        headers = {"seq": seq} if seq else {}
        record = Record("triggers", 1, offset, CUSTOMER.encode(), value, headers, 0)
        return Incoming(record, lambda: self.acknowledged.append(offset))

    def of(self, *actions: dict[str, Any], offset: int = 0, seq: bytes = b"", **more: Any) -> Incoming:
        return self.incoming(self.trigger.encode(trigger_record(*actions, **more)), offset, seq)

    async def queued(self, destination: str) -> list[str]:
        claimed, _ = await self.store.claim(destination, 100, 10_000, (0, 1))
        return [item.delivery.delivery_id for item in claimed]


@pytest.fixture
def bench(store: Store, clock: FakeClock) -> Bench:
    return Bench(store, clock)


async def test_every_action_is_queued_and_its_destination_woken(bench: Bench) -> None:
    await bench.intake.accept([bench.of(EMAIL, WEBHOOK)])
    assert await bench.queued("mail") == [stable_id("t1", "0")]
    assert await bench.queued("crm") == [stable_id("t1", "1")]
    assert bench.woken == [{"mail", "crm"}]


async def test_acknowledgements_follow_the_order_of_arrival_also_past_a_dead_letter(bench: Bench) -> None:
    await bench.intake.accept([bench.of(EMAIL, offset=4), bench.incoming(b"junk", offset=5), bench.of(EMAIL, offset=6)])
    assert bench.acknowledged == [4, 5, 6]


async def test_nothing_is_acknowledged_before_the_intents_are_durable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = bench.store.accept
    failures = iter([ConnectionError("away")])

    async def flaky(*args: Any) -> Any:
        assert bench.acknowledged == []
        for error in failures:
            raise error
        return await accept(*args)

    monkeypatch.setattr(bench.store, "accept", flaky)
    await bench.intake.accept([bench.of(EMAIL)])
    assert bench.acknowledged == [0]
    assert await bench.queued("mail") == [stable_id("t1", "0")]


async def test_a_trigger_that_comes_again_queues_nothing_and_is_counted(bench: Bench) -> None:
    before = metrics.duplicates.labels("triggers")._value.get()
    await bench.intake.accept([bench.of(EMAIL)])
    await bench.queued("mail")
    await bench.intake.accept([bench.of(EMAIL), bench.of(EMAIL)])
    assert await bench.queued("mail") == []
    assert metrics.duplicates.labels("triggers")._value.get() == before + 2
    assert bench.woken == [{"mail"}, set()]


@pytest.mark.parametrize(
    ("more", "reason"), [({"actions": b"{"}, "actions is not JSON"), ({"profile": b"[]"}, "profile is a list")]
)
async def test_a_trigger_that_cannot_be_planned_is_kept_with_its_bytes(
    bench: Bench, more: dict[str, Any], reason: str
) -> None:
    incoming = bench.of(EMAIL, **more)
    await bench.intake.accept([incoming])
    (kept,) = bench.log.records["notify.dead", partition_of(CUSTOMER.encode(), 4)]
    letter = Codec("dead_letter").decode(kept.value)
    assert letter["value"] == incoming.record.value
    assert reason in letter["error"]
    assert bench.acknowledged == [0]


async def test_missing_numbers_upstream_are_counted_and_processing_goes_on(bench: Bench) -> None:
    before = metrics.gaps._value.get()
    await bench.intake.accept([bench.of(EMAIL, seq=b"3:1"), bench.of(EMAIL, trigger_id="t2", seq=b"3:4")])
    assert metrics.gaps._value.get() == before + 2
    assert await bench.queued("mail") == [stable_id("t1", "0"), stable_id("t2", "0")]


async def test_what_ends_at_planning_goes_to_the_outbox_with_its_reason(bench: Bench) -> None:
    nameless = json.dumps({"traits": {}}).encode()
    await bench.intake.accept([bench.of(EMAIL, {"channel": "pigeon"}, profile=nameless)])
    (found,) = await bench.store.outbox(10, [(partition_of(CUSTOMER.encode(), 4), 0)])
    records = [bench.delivery.decode(item.value) for item in found]
    assert [(r["status"], r["attempts"]) for r in records] == [("suppressed", 0), ("failed", 0)]
    assert "no e-mail address" in records[0]["error"]


async def test_a_silent_schema_registry_holds_the_batch_instead_of_killing_the_trigger(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Planner.plan
    failures = iter([Retriable("registry away")])

    def flaky(self: Planner, record: Record) -> Any:
        for error in failures:
            raise error
        return plan(self, record)

    monkeypatch.setattr(Planner, "plan", flaky)
    await bench.intake.accept([bench.of(EMAIL)])
    assert bench.log.records == {}
    assert await bench.queued("mail") == [stable_id("t1", "0")]


async def test_a_surprise_while_planning_becomes_a_dead_letter_and_not_a_standstill(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Planner, record: Record) -> Any:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(Planner, "plan", broken)
    await bench.intake.accept([bench.of(EMAIL)])
    assert len(bench.log.records) == 1
    assert bench.acknowledged == [0]
