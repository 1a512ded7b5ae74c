"""A new `deliveries` topic: the second start of the local stack, whose broker is in memory."""

from services.chassis.redis.client import sync_client
from services.notify.adapters.renumber import renumber
from services.notify.adapters.store import Accepted, Place, Store
from services.notify.core.model import Status
from tests.unit.notify.notify_builders import delivery

PARTITION = 2


async def ended(store: Store, name: str) -> None:
    await store.accept([], [Accepted(delivery(name, status=Status.SUPPRESSED), PARTITION, name.encode())])


async def waiting(store: Store, acknowledged: int = 0) -> list[tuple[int, bytes]]:
    (found,) = await store.outbox(10, [(PARTITION, acknowledged)])
    return [(item.number, item.value) for item in found]


async def test_deliveries_of_a_new_topic_are_numbered_from_1(store: Store, notify_redis_url: str) -> None:
    for name in ("d1", "d2"):
        await ended(store, name)
    assert await waiting(store, acknowledged=2) == []
    with sync_client(notify_redis_url) as client:
        assert renumber(client, 4) == 0
    await ended(store, "d3")
    assert await waiting(store) == [(1, b"d3")]


async def test_what_still_waits_comes_first_and_in_order(store: Store, notify_redis_url: str) -> None:
    for name in ("d1", "d2", "d3"):
        await ended(store, name)
    assert await waiting(store, acknowledged=1) == [(2, b"d2"), (3, b"d3")]
    with sync_client(notify_redis_url) as client:
        assert renumber(client, 4) == 2
        assert renumber(client, 4) == 2
    await ended(store, "d4")
    assert await waiting(store) == [(1, b"d2"), (2, b"d3"), (3, b"d4")]


async def test_triggers_of_a_new_topic_are_no_repetitions_and_their_gaps_are_seen(
    store: Store, notify_redis_url: str
) -> None:
    assert (await store.accept([Place(0, "0", 1), Place(0, "0", 2)], []))[0] == 0
    with sync_client(notify_redis_url) as client:
        renumber(client, 4)
    assert (await store.accept([Place(0, "0", 1), Place(0, "0", 3)], []))[0] == 1
