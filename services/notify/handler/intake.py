"""Triggers in: plan, record the intents, then let the offset move. Nothing is sent from here.

An offset may be committed only when the intents of everything before it are durable, so acknowledgements go out in the
order of arrival and after the script has answered. Faust 0.15 would commit past a hole (Consumer._new_offset compares
with the committed offset one too low), which is the other reason why the order is kept here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.chassis.errors import Poison, Retriable
from services.chassis.failpoints import fp_async
from services.chassis.ids import partition_of, stable_id
from services.chassis.kafka.dead_letter import dead_letter
from services.chassis.logs import get_logger, limited
from services.chassis.records import Output, Record
from services.chassis.registry import Registry
from services.notify import metrics
from services.notify.adapters.store import Accepted, Place, Store
from services.notify.core.model import Delivery, delivery_record
from services.notify.core.plan import Malformed, Routes, plan, read_trigger
from services.notify.core.retry import POLICIES
from services.notify.core.templates import Templates
from services.notify.handler.pace import Pace
from services.notify.handler.persist import Persistence

# Triggers between two looks at the event loop: planning one costs about 0.2 ms, and sends wait meanwhile.
YIELD_EVERY = 16
ROUND_S = 0.005


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record of `triggers` and what lets its offset be committed."""

    record: Record
    acknowledge: Callable[[], object]


@dataclass(slots=True)
class _Batch:
    places: list[Place] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # deliveries per readable trigger
    dead: list[Output] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Planner:
    """What planning needs, bound once. `decode` raises Poison."""

    decode: Callable[[bytes | None], dict[str, object]]
    encode: Callable[[dict[str, object]], bytes]
    routes: Routes
    templates: Templates
    partitions: int
    clock: Callable[[], int]
    registry: Registry

    def dead_letter(self, record: Record, error: str) -> Output:
        """What is kept of a trigger that cannot be planned."""
        return dead_letter(record, metrics.SERVICE, error, self.partitions, self.registry, self.clock())

    def plan(self, record: Record) -> list[Accepted]:
        """The deliveries of one trigger, those that ended at once with their record. Raises Poison or Malformed."""
        now_ms = self.clock()
        trigger = read_trigger(self.decode(record.value))
        return [self._accepted(item, now_ms) for item in plan(trigger, self.routes, self.templates, stable_id, now_ms)]

    def _accepted(self, delivery: Delivery, now_ms: int) -> Accepted:
        partition = partition_of(delivery.customer_id.encode(), self.partitions)
        if delivery.status is None:
            return Accepted(delivery, partition)
        record = self.encode(delivery_record(delivery, delivery.status, 0, delivery.reason, "", now_ms))
        return Accepted(delivery, partition, record)


class Intake:
    """One queue between Faust and the store; batches grow with the backlog."""

    def __init__(
        self, planner: Planner, store: Store, persistence: Persistence, publish: Callable[[Output], Awaitable[None]],
        on_accepted: Callable[[set[str]], None], batch_max: int,
    ) -> None:  # fmt: skip
        """publish: produce one dead letter and wait for its ack; on_accepted: destinations that have something new."""
        self._planner, self._store, self._persistence = planner, store, persistence
        self._publish, self._on_accepted, self._batch_max = publish, on_accepted, batch_max
        self._queue: asyncio.Queue[Incoming] = asyncio.Queue(maxsize=4 * batch_max)
        self._pace = Pace(ROUND_S)
        self._log = limited(get_logger())

    async def put(self, incoming: Incoming) -> None:
        """Hand over one record; waits while the store is behind."""
        await self._queue.put(incoming)

    async def run(self) -> None:
        """Accept batches until cancelled; a batch that was begun is repeated, never skipped."""
        while True:
            batch = [await self._queue.get()]
            await self._pace.wait()
            while len(batch) < self._batch_max and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self.accept(batch)

    async def accept(self, incoming: list[Incoming]) -> None:
        """Make the intents of a batch durable, then acknowledge it, in order."""
        batch = _Batch()
        for index, item in enumerate(incoming):
            await self._persistence.call("registry", lambda record=item.record: self._plan(record, batch))  # type: ignore[misc]
            if index % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
        for output in batch.dead:
            await self._persistence.call("produce", lambda output=output: self._publish(output))  # type: ignore[misc]
        missing, is_new = await self._persistence.call(
            "store", lambda: self._store.accept(batch.places, batch.accepted)
        )
        await fp_async("before_acknowledge")
        for item in incoming:
            item.acknowledge()
        await fp_async("after_acknowledge")
        self._count(batch, incoming[0].record.topic, missing, is_new)
        waiting = {
            item.delivery.destination
            for item, new in zip(batch.accepted, is_new, strict=True)
            if new and item.delivery.status is None
        }
        self._on_accepted(waiting)

    async def _plan(self, record: Record, batch: _Batch) -> None:
        """Add one record to the batch. Raises Retriable when a schema registry does not answer."""
        try:
            accepted = self._planner.plan(record)
        except Retriable:
            raise
        except Exception as error:  # noqa: BLE001 - one trigger that cannot be planned must not hold up the others
            known = isinstance(error, Poison | Malformed)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            batch.dead.append(self._planner.dead_letter(record, text))
            self._log.warning(
                "trigger.dead", topic=record.topic, partition=record.partition, offset=record.offset, text=text[:300]
            )
        else:
            batch.accepted += accepted
            batch.sizes.append(len(accepted))
        place = _place(record)
        if place is not None:
            batch.places.append(place)

    def _count(self, batch: _Batch, topic: str, missing: int, is_new: list[bool]) -> None:
        if missing:
            metrics.gaps.inc(missing)
            self._log.error("trigger.gap", missing=missing, text="acknowledged triggers are missing upstream")
        known, at = 0, 0
        for size in batch.sizes:
            known += size > 0 and not any(is_new[at : at + size])
            at += size
        metrics.duplicates.labels(topic).inc(known)
        metrics.records.labels(topic).inc(len(batch.sizes) - known)
        metrics.dead_letters.labels(topic).inc(len(batch.dead))
        for item, new in zip(batch.accepted, is_new, strict=True):
            if new and item.delivery.status is not None:
                channel = item.delivery.channel if item.delivery.channel in POLICIES else "none"
                metrics.deliveries.labels(channel, item.delivery.status).inc()


def _place(record: Record) -> Place | None:
    """The header `seq` as a place; None when there is none or it cannot be read."""
    source, _, number = record.headers.get("seq", b"").decode("ascii", "replace").partition(":")
    return Place(record.partition, source, int(number)) if number.isdecimal() else None
