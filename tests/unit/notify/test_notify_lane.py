"""A destination's line on a real Valkey: sending, retrying, breaking, crashing, draining."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from services.chassis import failpoints
from services.chassis.avro import Codec
from services.chassis.health import Health
from services.chassis.testing.clock import FakeClock
from services.notify.adapters.store import Accepted, Mark, Store
from services.notify.channels.sink import AbsentSender
from services.notify.core.breaker import Rules, State, state_of
from services.notify.core.model import Delivery, Outcome, Result, Status
from services.notify.core.retry import HOUR_MS, POLICIES
from services.notify.handler.lane import Context, Lane, Limits
from services.notify.handler.marker import Marker
from services.notify.handler.persist import Persistence
from tests.unit.notify.notify_builders import CUSTOMER, ScriptedSender, busy, delivery, ok, until

LEASE_MS = 10_000


class Bench:
    """Lanes over one store, and the records they ended with."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock, self.lanes = store, clock, list[Lane]()
        self.codec, persistence = Codec("delivery"), Persistence(Health())
        self.context = Context(
            store, Marker(store, persistence), persistence, self.codec.encode, 4, clock, lambda: 0.5, lambda: None
        )

    def open(
        self, sender: ScriptedSender | AbsentSender, channel: str = "webhook", name: str = "crm",
        limits: Limits = Limits(4, 5.0, LEASE_MS), rules: Rules = Rules(threshold=3),  # noqa: B008
    ) -> Lane:  # fmt: skip
        lane = Lane(name, sender, POLICIES[channel], limits, self.context, rules)
        lane.start()
        self.lanes.append(lane)
        return lane

    async def accept(self, *deliveries: Delivery) -> None:
        await self.store.accept([], [Accepted(item, 0) for item in deliveries])

    async def records(self) -> list[dict[str, object]]:
        lists = await self.store.outbox(1_000, [(partition, 0) for partition in range(4)])
        return [self.codec.decode(item.value) for found in lists for item in found]

    async def ended(self, count: int) -> list[dict[str, object]]:
        async def enough() -> bool:
            return len(await self.records()) >= count

        await until(enough, f"{count} deliveries have ended")
        return await self.records()

    def tick(self, ms: int) -> None:
        self.clock.advance(ms)
        for lane in self.lanes:
            lane.wake()


@pytest.fixture
async def bench(store: Store, clock: FakeClock) -> AsyncIterator[Bench]:
    found = Bench(store, clock)
    yield found
    for lane in found.lanes:
        await lane.stop(0.1)
    failpoints.configure("", "notify")


async def test_a_delivery_is_sent_once_and_its_record_says_how_it_went(bench: Bench) -> None:
    await bench.accept(delivery("d1", label="mail:l***@example.com"))
    bench.clock.advance(700)
    sender = ScriptedSender(ok())
    bench.open(sender)
    (record,) = await bench.ended(1)
    assert sender.sent == ["d1"]
    assert record == {
        "delivery_id": "d1", "trigger_id": "t1", "customer_id": CUSTOMER, "rule": "welcome", "channel": "webhook",
        "destination": "mail:l***@example.com", "status": "delivered", "attempts": 1, "error": "", "provider_id": "p1",
        "fired_at": bench.clock() - 700, "accepted_at": bench.clock() - 700, "finished_at": bench.clock(),
    }  # fmt: skip


async def test_a_failed_send_is_repeated_after_the_pause_and_not_before(bench: Bench) -> None:
    sender = ScriptedSender(busy(), ok())
    lane = bench.open(sender)
    await bench.accept(delivery())
    bench.tick(0)

    await until(lambda: sender.sent and not lane._tasks, "the first send failed and was put off")
    _, due_in_ms = await bench.store.claim("crm", 1, LEASE_MS, (0, 1))
    assert due_in_ms == 1_000  # half of the first pause of two seconds: the injected number is 0.5
    bench.tick(1_000)
    (record,) = await bench.ended(1)
    assert (record["status"], record["attempts"]) == ("delivered", 2)


async def test_a_permanent_refusal_ends_it_with_the_reason(bench: Bench) -> None:
    bench.open(ScriptedSender(Outcome(Result.PERMANENT, "HTTP 410")))
    await bench.accept(delivery())
    (record,) = await bench.ended(1)
    assert (record["status"], record["error"]) == ("failed", "HTTP 410")


async def test_a_send_that_takes_too_long_is_ambiguous(bench: Bench) -> None:
    sender = ScriptedSender(ok())
    sender.gate = asyncio.Event()
    bench.open(sender, channel="apprise", limits=Limits(4, 0.05, LEASE_MS))
    await bench.accept(delivery())
    (record,) = await bench.ended(1)
    assert (record["status"], record["error"]) == ("unknown", "no answer within 0.05 s")


async def test_a_channel_that_raises_is_ambiguous_too(bench: Bench) -> None:
    class Broken(ScriptedSender):
        async def send(self, delivery: Delivery) -> Outcome:
            raise ZeroDivisionError

    bench.open(Broken(), channel="apprise")
    await bench.accept(delivery())
    (record,) = await bench.ended(1)
    assert (record["status"], record["error"]) == ("unknown", "ZeroDivisionError while sending")


@pytest.mark.parametrize(
    ("channel", "waited_ms", "status", "sends"),
    [
        ("webhook", LEASE_MS, "delivered", 2),
        ("email", LEASE_MS, "delivered", 2),
        ("wecom", LEASE_MS, "delivered", 2),
        ("wecom", 1_900_000, "unknown", 1),
        ("apprise", LEASE_MS, "unknown", 1),
        ("sink", LEASE_MS, "delivered", 2),
    ],
)
async def test_a_crash_between_send_and_mark_follows_the_channels_policy(
    bench: Bench, channel: str, waited_ms: int, status: str, sends: int
) -> None:
    failpoints.configure("notify.after_send=raise", "notify")
    sender = ScriptedSender(ok())
    crashing = bench.open(sender, channel)
    await bench.accept(delivery(channel=channel))
    await until(lambda: sender.sent == ["d1"] and not crashing._tasks, "sent and not marked")
    await crashing.stop(1)
    assert await bench.records() == []
    bench.tick(waited_ms)
    bench.open(sender, channel)
    (record,) = await bench.ended(1)
    assert record["status"] == status
    assert sender.sent == ["d1"] * sends


async def test_a_crash_before_the_send_is_not_told_from_one_after_it(bench: Bench) -> None:
    failpoints.configure("notify.before_send=raise", "notify")
    sender = ScriptedSender(ok())
    crashing = bench.open(sender, "apprise")
    await bench.accept(delivery())
    await until(lambda: crashing.breaker.is_probing is False and not crashing._tasks, "crashed")
    await crashing.stop(1)
    bench.tick(LEASE_MS)
    bench.open(sender, "apprise")
    (record,) = await bench.ended(1)
    assert (record["status"], sender.sent) == ("unknown", [])


async def test_a_dead_destination_trips_its_breaker_and_uses_up_no_attempts(bench: Bench) -> None:
    sender = ScriptedSender(busy())
    lane = bench.open(sender, limits=Limits(1, 5.0, LEASE_MS))
    await bench.accept(*(delivery(f"d{n}") for n in range(10)))
    bench.tick(0)
    await until(
        lambda: state_of(lane.breaker, bench.clock()) is State.OPEN and not lane._tasks,
        "the breaker opens, and what was under way is marked",
    )
    assert len(sender.sent) == 3
    sender.answers = [ok()]
    bench.tick(60_000)
    records = await bench.ended(10)
    assert state_of(lane.breaker, bench.clock()) is State.CLOSED
    assert {r["attempts"] for r in records} == {1, 2}


async def test_a_slow_destination_does_not_hold_up_another(bench: Bench) -> None:
    slow, quick = ScriptedSender(ok()), ScriptedSender(ok())
    slow.gate = asyncio.Event()
    bench.open(slow, limits=Limits(2, 5.0, LEASE_MS))
    bench.open(quick, name="mail")
    await bench.accept(*(delivery(f"s{n}") for n in range(20)))
    await bench.accept(*(delivery(f"q{n}", destination="mail") for n in range(20)))
    bench.tick(0)
    records = await bench.ended(20)
    assert {str(r["delivery_id"])[0] for r in records} == {"q"}
    assert slow.most_under_way == 2
    slow.gate.set()
    await bench.ended(40)


async def test_retry_after_holds_back_the_whole_destination(bench: Bench) -> None:
    sender = ScriptedSender(busy(retry_after_ms=60_000), ok())
    bench.open(sender, limits=Limits(1, 5.0, LEASE_MS))
    await bench.accept(delivery("d1"), delivery("d2"))
    bench.tick(0)
    await until(lambda: len(sender.sent) == 1 and not bench.lanes[0]._tasks, "the first was turned away")
    bench.tick(59_999)
    assert len(sender.sent) == 1
    bench.tick(1)
    await bench.ended(2)


async def test_the_rate_of_a_destination_is_kept(bench: Bench) -> None:
    sender = ScriptedSender(ok())
    bench.open(sender, limits=Limits(4, 5.0, LEASE_MS, (20, 61_000)))
    await bench.accept(*(delivery(f"d{n:02}") for n in range(30)))
    bench.tick(0)
    await bench.ended(20)
    bench.tick(60_999)
    assert len(sender.sent) == 20
    bench.tick(2)
    await bench.ended(30)


async def test_two_replicas_never_work_the_same_delivery(bench: Bench) -> None:
    first, second = ScriptedSender(ok()), ScriptedSender(ok())
    bench.open(first)
    bench.open(second)
    await bench.accept(*(delivery(f"d{n}") for n in range(200)))
    bench.tick(0)
    await bench.ended(200)
    assert len(first.sent) + len(second.sent) == 200
    assert not set(first.sent) & set(second.sent)


async def test_stopping_lets_sends_under_way_finish_and_begins_no_more(bench: Bench) -> None:
    sender = ScriptedSender(ok())
    sender.gate = asyncio.Event()
    lane = bench.open(sender, limits=Limits(2, 5.0, LEASE_MS))
    await bench.accept(*(delivery(f"d{n}") for n in range(5)))
    bench.tick(0)
    await until(lambda: sender.under_way == 2, "two are under way")
    stopping = asyncio.create_task(lane.stop(5))
    await asyncio.sleep(0)
    sender.gate.set()
    await stopping
    assert len(await bench.records()) == 2
    assert len(sender.sent) == 2


async def test_deliveries_of_a_destination_that_left_the_file_fail_after_the_usual_hours(bench: Bench) -> None:
    lane = bench.open(AbsentSender(), rules=Rules(threshold=1_000))
    await bench.accept(delivery())
    bench.tick(0)
    await until(lambda: lane.breaker.failures > 0 and not lane._tasks, "it was tried and put off")
    bench.tick(25 * HOUR_MS)
    (record,) = await bench.ended(1)
    assert record["status"] == Status.FAILED


async def test_an_outage_of_redis_loses_no_outcome(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([ConnectionError("away"), ConnectionError("away")])
    settle: Callable[..., object] = bench.store.settle

    async def flaky(*args: object) -> object:
        for error in failures:
            raise error
        return await settle(*args)  # type: ignore[misc]

    monkeypatch.setattr(bench.store, "settle", flaky)
    sender = ScriptedSender(ok())
    bench.open(sender)
    await bench.accept(delivery())
    bench.tick(0)
    await bench.ended(1)
    assert sender.sent == ["d1"]


async def test_a_burst_needs_few_connections_and_few_round_trips(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    settle = bench.store.settle

    async def counted(marks: Sequence[Mark]) -> list[bool]:
        sizes.append(len(marks))
        return await settle(marks)

    monkeypatch.setattr(bench.store, "settle", counted)
    lanes = [bench.open(ScriptedSender(ok()), name=f"l{n}", limits=Limits(64, 5.0, LEASE_MS)) for n in range(4)]
    for lane in lanes:
        await bench.accept(*(delivery(f"{lane.name}-{n}", destination=lane.name) for n in range(200)))
    bench.tick(0)
    await bench.ended(800)
    assert sum(sizes) == 800
    assert len(sizes) < 100
