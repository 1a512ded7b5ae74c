"""The scripts on a real Valkey: intents, leases, fences, the outbox."""

from collections.abc import Sequence

from services.chassis.testing.clock import FakeClock
from services.notify.adapters.store import Accepted, Claimed, Depth, Ended, Mark, Place, PutOff, Store
from services.notify.core.model import Delivery, Status
from tests.unit.notify.notify_builders import delivery

LEASE_MS = 10_000
FREE = (0, 1)


async def accept(store: Store, *deliveries: Delivery, places: Sequence[Place] = ()) -> tuple[int, list[bool]]:
    return await store.accept(places, [Accepted(d, 2, b"ended" if d.status else b"") for d in deliveries])


async def claim(
    store: Store, wanted: int = 10, rate: tuple[int, int] = FREE, destination: str = "crm"
) -> list[Claimed]:
    return (await store.claim(destination, wanted, LEASE_MS, rate))[0]


async def mark(store: Store, found: Mark) -> bool:
    return (await store.settle([found]))[0]


async def waiting(store: Store, acknowledged: int = 0) -> list[tuple[int, bytes, bytes]]:
    (found,) = await store.outbox(10, [(2, acknowledged)])
    return [(item.number, item.key, item.value) for item in found]


async def test_an_intent_is_recorded_once_and_comes_back_as_it_was(store: Store) -> None:
    assert await accept(store, delivery("d1"), delivery("d2")) == (0, [True, True])
    assert await accept(store, delivery("d1"), delivery("d3")) == (0, [False, True])
    claimed = await claim(store)
    assert sorted(item.delivery.delivery_id for item in claimed) == ["d1", "d2", "d3"]
    assert claimed[0].delivery == delivery(claimed[0].delivery.delivery_id)
    assert (claimed[0].attempts, claimed[0].is_doubtful, claimed[0].since_first_ms) == (0, False, 0)


async def test_a_claimed_delivery_is_nobody_elses_until_its_lease_runs_out(store: Store, clock: FakeClock) -> None:
    await accept(store, delivery())
    (first,) = await claim(store)
    assert await claim(store) == []
    clock.advance(LEASE_MS - 1)
    assert await claim(store) == []
    clock.advance(1)
    (second,) = await claim(store)
    assert (second.is_doubtful, second.attempts, second.since_first_ms) == (True, 1, LEASE_MS)
    assert second.fence > first.fence


async def test_an_outcome_of_a_former_holder_is_fenced(store: Store, clock: FakeClock) -> None:
    await accept(store, delivery())
    (zombie,) = await claim(store)
    clock.advance(LEASE_MS)
    (holder,) = await claim(store)
    assert not await mark(store, Ended(zombie, Status.DELIVERED, 2, b"zombie"))
    assert not await mark(store, PutOff(zombie, 0, False))
    assert await mark(store, Ended(holder, Status.DELIVERED, 2, b"holder"))
    assert not await mark(store, Ended(holder, Status.DELIVERED, 2, b"again"))
    assert [value for _, _, value in await waiting(store)] == [b"holder"]


async def test_a_delivery_put_off_comes_back_when_due_and_without_a_doubt(store: Store, clock: FakeClock) -> None:
    await accept(store, delivery())
    (first,) = await claim(store)
    assert await mark(store, PutOff(first, 5_000, False))
    found, due_in_ms = await store.claim("crm", 10, LEASE_MS, FREE)
    assert (found, due_in_ms) == ([], 5_000)
    clock.advance(5_000)
    (again,) = await claim(store)
    assert (again.is_doubtful, again.attempts) == (False, 1)


async def test_many_outcomes_are_marked_at_once_each_by_its_own_fence(store: Store, clock: FakeClock) -> None:
    await accept(store, delivery("d1"), delivery("d2"), delivery("d3"))
    claimed = {item.delivery.delivery_id: item for item in await claim(store)}
    clock.advance(LEASE_MS)
    (taken_over,) = await claim(store, 1)
    name = taken_over.delivery.delivery_id
    first, second = (item for key, item in claimed.items() if key != name)
    marks: list[Mark] = [Ended(first, Status.DELIVERED, 2, b"one"), Ended(claimed[name], Status.DELIVERED, 2, b"no"),
             PutOff(second, 0, False)]  # fmt: skip
    assert await store.settle(marks) == [True, False, True]
    assert [value for _, _, value in await waiting(store)] == [b"one"]
    assert await store.settle([]) == []


async def test_a_lost_answer_is_remembered_over_every_later_claim(store: Store) -> None:
    await accept(store, delivery())
    for is_doubtful in (True, False):
        (claimed,) = await claim(store)
        await mark(store, PutOff(claimed, 0, is_doubtful))
    (claimed,) = await claim(store)
    assert (claimed.is_doubtful, claimed.attempts) == (True, 2)


async def test_what_has_ended_is_remembered_and_never_queued_again(store: Store) -> None:
    await accept(store, delivery())
    (claimed,) = await claim(store)
    await mark(store, Ended(claimed, Status.DELIVERED, 2, b"r"))
    assert await accept(store, delivery()) == (0, [False])
    assert await claim(store) == []


async def test_what_ended_at_planning_goes_straight_to_the_outbox_once(store: Store) -> None:
    suppressed = delivery(status=Status.SUPPRESSED, reason="no recipient")
    assert await accept(store, suppressed) == (0, [True])
    assert await accept(store, suppressed) == (0, [False])
    assert await claim(store) == []
    assert await waiting(store) == [(1, suppressed.customer_id.encode(), b"ended")]


async def test_outbox_numbers_are_contiguous_and_a_trim_takes_only_what_was_acknowledged(store: Store) -> None:
    await accept(store, *(delivery(f"d{n}", status=Status.FAILED) for n in range(5)))
    assert [number for number, _, _ in await waiting(store)] == [1, 2, 3, 4, 5]
    assert [number for number, _, _ in await waiting(store, acknowledged=3)] == [4, 5]
    assert [number for number, _, _ in await waiting(store, acknowledged=2)] == [4, 5]
    assert await waiting(store, acknowledged=5) == []
    await accept(store, delivery("d9", status=Status.FAILED))
    assert [number for number, _, _ in await waiting(store, acknowledged=5)] == [6]


async def test_the_rate_is_kept_over_all_claimers_and_frees_itself(store: Store, clock: FakeClock) -> None:
    await accept(store, *(delivery(f"d{n}") for n in range(5)))
    rate = (3, 60_000)
    assert len(await claim(store, 2, rate)) == 2
    clock.advance(10_000)
    assert len(await claim(store, 10, rate)) == 1
    found, due_in_ms = await store.claim("crm", 10, 10 * LEASE_MS, rate)
    assert found == []
    assert due_in_ms == 50_001
    clock.advance(50_001)
    assert len(await claim(store, 10, rate)) == 2


async def test_missing_sequence_numbers_are_counted_and_repeated_ones_are_not(store: Store) -> None:
    assert (await accept(store, places=[Place(0, "3", 1), Place(0, "3", 2), Place(1, "3", 1)]))[0] == 0
    assert (await accept(store, places=[Place(0, "3", 2), Place(0, "3", 6), Place(0, "5", 2)]))[0] == 3 + 1
    assert (await accept(store, places=[Place(0, "3", 4)]))[0] == 0


async def test_depths_say_what_waits_where(store: Store, clock: FakeClock) -> None:
    await accept(store, delivery("d1"), delivery("d2"), delivery("d3", destination="mail"))
    await accept(store, delivery("d4", status=Status.FAILED))
    clock.advance(7_000)
    assert await store.depths(4) == (1, {"crm": Depth(2, 7_000), "mail": Depth(1, 7_000)})


async def test_the_servers_clock_counts_when_none_is_injected(redis_db: object) -> None:
    store = Store(redis_db, 1_000)  # type: ignore[arg-type]
    await accept(store, delivery())
    (claimed,) = await claim(store)
    assert claimed.now_ms > 1_700_000_000_000
