"""Finished deliveries out: in order, contiguous, repeated with the same numbers after any failure."""

import asyncio
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from services.chassis import failpoints
from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import FailpointError
from services.chassis.health import Health
from services.notify.adapters.store import Accepted, Store
from services.notify.core.model import Status
from services.notify.handler import relay as relay_module
from services.notify.handler.persist import Persistence
from services.notify.handler.relay import Relay
from tests.unit.notify.notify_builders import CUSTOMER, MemoryLog, delivery, until


async def fill(store: Store, count: int, partition: int = 2, start: int = 0) -> None:
    ended = [delivery(f"{partition}-{n}", status=Status.FAILED) for n in range(start, start + count)]
    await store.accept([], [Accepted(item, partition, item.delivery_id.encode()) for item in ended])


def relay(store: Store, log: MemoryLog) -> Relay:
    return Relay(store, log, Persistence(Health()), lambda: [0, 2])


async def test_records_go_out_in_order_keyed_by_customer_and_are_then_trimmed(store: Store) -> None:
    log = MemoryLog()
    await fill(store, 3)
    found = relay(store, log)
    assert await found.round() == 3
    assert await found.round() == 0
    outputs = log.records["deliveries", 2]
    assert [(o.key, o.value) for o in outputs] == [(CUSTOMER.encode(), f"2-{n}".encode()) for n in range(3)]
    assert log.numbers("deliveries", 2) == [1, 2, 3]
    assert await store.outbox(10, [(2, 0)]) == [[]]


async def test_a_batch_that_takes_only_some_goes_on_with_the_rest(store: Store) -> None:
    log = MemoryLog(prefix=2)
    await fill(store, 5)
    found = relay(store, log)
    assert [await found.round() for _ in range(4)] == [2, 2, 1, 0]
    assert log.numbers("deliveries", 2) == [1, 2, 3, 4, 5]


async def test_a_failure_trims_nothing_and_the_same_numbers_go_again(store: Store) -> None:
    log = MemoryLog(Retriable("away"))
    await fill(store, 2)
    found = relay(store, log)
    with pytest.raises(Retriable):
        await found.round()
    assert await found.round() == 2
    assert log.numbers("deliveries", 2) == [1, 2]


async def test_a_crash_between_the_acknowledgement_and_the_trim_repeats_the_numbers(store: Store) -> None:
    log = MemoryLog()
    await fill(store, 2)
    failpoints.configure("notify.after_produce=raise", "notify")
    try:
        with pytest.raises(FailpointError):
            await relay(store, log).round()
    finally:
        failpoints.configure("", "notify")
    await fill(store, 1, start=2)
    assert await relay(store, log).round() == 3
    assert log.numbers("deliveries", 2) == [1, 2, 1, 2, 3]


async def test_only_partitions_that_the_group_gave_us_are_relayed(store: Store) -> None:
    log = MemoryLog()
    await fill(store, 1, partition=0)
    await fill(store, 1, partition=3)
    assert await relay(store, log).round() == 1
    assert list(log.records) == [("deliveries", 0)]


async def test_a_producer_that_cannot_go_on_ends_the_relay(store: Store) -> None:
    await fill(store, 1)
    running = asyncio.create_task(relay(store, MemoryLog(Fatal("fenced"))).run())
    await until(running.done, "the relay has ended")
    assert isinstance(running.exception(), Fatal)


async def test_it_works_by_itself_and_sees_what_another_replica_finished(store: Store) -> None:
    log = MemoryLog(Retriable("away"))
    running = asyncio.create_task(relay(store, log).run())
    await fill(store, 3)
    await until(lambda: log.numbers("deliveries", 2) == [1, 2, 3], "everything is relayed without a wake")
    running.cancel()


async def test_what_cannot_be_sent_grows_older_until_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(relay_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    log = MemoryLog(Retriable("away"), Retriable("away"))
    await fill(store, 2)
    found = relay(store, log)
    for _ in range(2):
        with pytest.raises(Retriable):
            await found.round()
        now[0] += 5
    assert REGISTRY.get_sample_value("touchstream_notify_outbox_age_seconds") == 10
    await found.round()
    assert REGISTRY.get_sample_value("touchstream_notify_outbox_age_seconds") == 0
