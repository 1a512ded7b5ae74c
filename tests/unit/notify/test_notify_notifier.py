"""The parts together: start, a trigger's whole way, gauges, what is absent, crashes of a part, the drain."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
import redis.asyncio

from services.chassis.avro import Codec
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal, Retriable
from services.chassis.health import Health
from services.chassis.records import Output, Record
from services.chassis.registry import open_registry
from services.notify import metrics
from services.notify.adapters.store import DAY_MS, Accepted, Store
from services.notify.channels.base import Sender
from services.notify.core.retry import POLICIES
from services.notify.handler.intake import Incoming, Intake, Planner
from services.notify.handler.lane import Context, Limits
from services.notify.handler.marker import Marker
from services.notify.handler.notifier import Notifier, Opened
from services.notify.handler.persist import Persistence
from services.notify.handler.relay import Relay
from tests.unit.notify.notify_builders import (
    CUSTOMER,
    MemoryLog,
    ScriptedSender,
    delivery,
    ok,
    routes,
    templates,
    trigger_record,
    until,
)

Make = Callable[..., Notifier]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def make(redis_db: "redis.asyncio.Redis", log: MemoryLog, health: Health) -> AsyncIterator[Make]:
    """A function that makes a notifier with these senders by destination; all are stopped at the end."""
    made: list[Notifier] = []

    def run(senders: Mapping[str, Sender]) -> Notifier:
        store, persistence = Store(redis_db, 8 * DAY_MS), Persistence(health)
        encode = Codec("delivery").encode
        relay = Relay(store, log, persistence, lambda: range(4))
        context = Context(
            store, Marker(store, persistence), persistence, encode, 4, now_ms, lambda: 0.5, relay.wake
        )  # fmt: skip
        limits = Limits(4, 2.0, 5_000)
        opened = {name: Opened(sender, POLICIES["webhook"], limits) for name, sender in senders.items()}
        planner = Planner(Codec("trigger").decode, encode, routes(), templates(), 4, now_ms, open_registry())

        async def publish(output: Output) -> None:
            await log.publish(output.topic, output.partition, [output])

        intake = Intake(planner, store, persistence, publish, lambda waiting: made[-1].wake(waiting), 10)
        made.append(Notifier(intake, relay, store, persistence, context, opened))
        made[-1].start()
        return made[-1]

    yield run
    for notifier in made:
        await notifier.stop(1)


def incoming(destination: str = "crm") -> Incoming:
    value = Codec("trigger").encode(
        trigger_record({"channel": "webhook", "destination": destination, "template": "hello"})
    )
    return Incoming(Record("triggers", 0, 0, CUSTOMER.encode(), value, {}, 0), lambda: None)


async def test_a_trigger_goes_the_whole_way_without_waiting_for_any_poll(make: Make, log: MemoryLog) -> None:
    sender = ScriptedSender(ok())
    notifier = make({"crm": sender})
    await notifier.intake.put(incoming())
    await until(lambda: log.records, "the delivery's record is in the topic")
    assert len(sender.sent) == 1
    assert notifier.crashed() == ""


async def test_a_stop_lets_what_is_under_way_finish_and_sends_its_record(make: Make, log: MemoryLog) -> None:
    sender = ScriptedSender(ok())
    sender.gate = asyncio.Event()
    notifier = make({"crm": sender})
    await notifier.intake.put(incoming())
    await until(lambda: sender.under_way, "the send is under way")
    stopping = asyncio.create_task(notifier.stop(5))
    await asyncio.sleep(0)
    sender.gate.set()
    await stopping
    assert len(log.records) == 1
    assert sender.is_closed


async def test_a_stop_does_not_wait_for_a_send_that_hangs_nor_for_an_absent_broker(make: Make, log: MemoryLog) -> None:
    sender = ScriptedSender(ok())
    sender.gate = asyncio.Event()
    log.failures = [Retriable("away")] * 1_000
    notifier = make({"crm": sender})
    await notifier.intake.put(incoming())
    await until(lambda: sender.under_way, "the send is under way")
    async with asyncio.timeout(5):
        await notifier.stop(0.2)


async def test_gauges_show_what_waits_and_a_destination_that_left_the_file_gets_a_lane(
    make: Make, redis_db: "redis.asyncio.Redis"
) -> None:
    store = Store(redis_db, DAY_MS)
    await store.accept([], [Accepted(delivery("d1", destination="former", created_at=now_ms()), 0)])
    notifier = make({"crm": ScriptedSender(ok())})
    await until(lambda: "former" in notifier._lanes, "a lane for the former destination")
    assert metrics.queue.labels("former")._value.get() == 1
    await until(lambda: notifier._lanes["former"].breaker.failures, "it was tried and put off")


async def test_a_part_that_ends_is_told_with_its_error(make: Make, log: MemoryLog) -> None:
    log.failures = [Fatal("the producer has ended")]
    notifier = make({"crm": ScriptedSender(ok())})
    await notifier.intake.put(incoming())
    await until(notifier.crashed, "the relay has ended")
    assert "relay" in notifier.crashed()
    assert "the producer has ended" in notifier.crashed()


async def test_a_call_is_repeated_until_it_succeeds_and_readiness_tells(health: Health) -> None:
    answers = iter([ConnectionError("away"), TimeoutError("away"), None])
    seen: list[bool] = []

    async def call() -> str:
        error = next(answers)
        if error is not None:
            raise error
        seen.append(health.ready)
        return "done"

    assert await Persistence(health).call("store", call) == "done"
    assert seen == [False]
    assert health.ready


async def test_what_is_fatal_is_not_repeated(health: Health) -> None:
    async def call() -> None:
        raise Fatal("no use")

    function: Callable[[], Awaitable[None]] = call
    with pytest.raises(Fatal):
        await Persistence(health).call("store", function)
