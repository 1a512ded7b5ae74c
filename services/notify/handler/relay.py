"""Finished deliveries out: from the outbox in Redis to the topic, in order, with contiguous sequence numbers.

A crash between the broker's acknowledgement and the trim produces a record again with the same number and the same
delivery id; readers drop it by either. Each partition is relayed by the replica that the consumer group gives it; a
former owner that does not know yet only repeats numbers.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from services.chassis.failpoints import fp_async
from services.chassis.records import Output
from services.notify import metrics
from services.notify.adapters.store import Store, Waiting
from services.notify.handler.pace import Pace
from services.notify.handler.persist import Persistence

TOPIC = "deliveries"
CHUNK = 200
# Another replica may have finished a delivery of our partitions; our own wake the relay at once.
POLL_S = 0.25
# Nobody waits for these records as one waits for a message; each round costs two round trips and a produce.
ROUND_S = 0.03


class Publisher(Protocol):
    """Kafka as the handler sees it."""

    async def publish(self, topic: str, partition: int, outputs: Sequence[Output]) -> int:
        """Produce a prefix of the outputs as one batch, all or nothing; returns how many. Raises until acknowledged."""
        ...


class Relay:
    """Moves outbox records to the topic `deliveries`."""

    def __init__(
        self, store: Store, publisher: Publisher, persistence: Persistence, owned: Callable[[], Sequence[int]]
    ) -> None:
        """owned: partitions this replica relays now."""
        self._store, self._publisher, self._persistence, self._owned = store, publisher, persistence, owned
        self._acknowledged: dict[int, int] = {}
        self._heads: dict[int, tuple[int, float]] = {}  # partition → number of the oldest record, since when it waits
        metrics.outbox_age_s.set_function(self.age_s)
        self._pace = Pace(ROUND_S)
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something was finished."""
        self._wake.set()

    def age_s(self) -> float:
        """How long the oldest record has waited; 0 when none does. Asked at the scrape, also while a send hangs."""
        now = time.monotonic()
        return max((now - since for _, since in self._heads.values()), default=0.0)

    def _look_at(self, partitions: Sequence[int], lists: Sequence[Sequence[Waiting]]) -> None:
        now, heads = time.monotonic(), {}
        for partition, waiting in zip(partitions, lists, strict=True):
            if waiting:
                number, since = self._heads.get(partition, (0, now))
                heads[partition] = (waiting[0].number, since if number == waiting[0].number else now)
        self._heads = heads

    async def run(self) -> None:
        """Relay until cancelled."""
        while True:
            await self._pace.wait()
            self._wake.clear()
            if await self._persistence.call("relay", self.round):
                continue
            try:
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def round(self) -> int:
        """One look at the outboxes: trim what is acknowledged, send what waits. Returns how many were sent."""
        partitions = list(self._owned())
        if not partitions:
            self._heads = {}
            return 0
        # Used once: a number kept for longer could trim an outbox that began anew.
        acknowledged, self._acknowledged = self._acknowledged, {}
        pairs = [(partition, acknowledged.get(partition, 0)) for partition in partitions]
        lists = await self._store.outbox(CHUNK, pairs)
        self._look_at(partitions, lists)
        work = [self._send(p, waiting) for p, waiting in zip(partitions, lists, strict=True) if waiting]
        results = await asyncio.gather(*work, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        if work:
            await fp_async("after_produce")
        return sum(result for result in results if isinstance(result, int))

    async def _send(self, partition: int, waiting: list[Waiting]) -> int:
        outputs = [
            Output(TOPIC, partition, item.key, item.value, [("seq", b"%d:%d" % (partition, item.number))])
            for item in waiting
        ]
        sent = await self._publisher.publish(TOPIC, partition, outputs)
        self._acknowledged[partition] = waiting[sent - 1].number
        metrics.outputs.labels(TOPIC).inc(sent)
        if sent == len(waiting):
            self._heads.pop(partition, None)
        return sent
