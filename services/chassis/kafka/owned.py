"""The partitions of one group member: what is claimed, and what is to be claimed again, and when.

Whatever goes wrong with a partition ends here: its Line is dropped, with every cache, and claimed anew.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from services.chassis.errors import Retriable
from services.chassis.failpoints import fp
from services.chassis.kafka.debts import Cause
from services.chassis.kafka.line import Line, Worker
from services.chassis.kafka.loop_metrics import LoopMetrics
from services.chassis.kafka.reader import Place, Reader
from services.chassis.kafka.take_over import refuse_older, take_over
from services.chassis.marks import Mark
from services.chassis.records import Entry
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot

BACK_OFF_S = 0.5

Work: TypeAlias = list[tuple[Claim, Entry]]
WorkerFactory = Callable[[Claim], Worker]


@dataclass(frozen=True, slots=True)
class Log:
    """The topic that is read: in which cluster, under which id, and the oldest offset of each partition."""

    cluster_id: str
    topic_id: str
    firsts: dict[Place, int]


class Owned:
    """One Line per claimed partition. Called from the loop's thread only, also by the reader's callbacks."""

    def __init__(
        self, service: str, shared_slot: bool, is_numbered: bool, reader: Reader, ledger: Ledger, log: Log,
        open_worker: WorkerFactory, send: Callable[[Work], int], metrics: LoopMetrics,
    ) -> None:  # fmt: skip
        """`send` relays what a former owner left and returns when the broker has it."""
        self.service, self.shared_slot, self.is_numbered = service, shared_slot, is_numbered
        self.reader, self.ledger, self.log = reader, ledger, log
        self.open_worker, self.send, self.metrics = open_worker, send, metrics
        self.wanted: set[Place] = set()
        self.lines: dict[Place, Line] = {}
        self.not_before_s: dict[Place, float] = {}

    def on_assign(self, places: list[Place]) -> None:
        """The group gives these partitions, and no others."""
        self.wanted = set(places)
        for place in list(self.lines):
            self._forget(place)
        self.not_before_s.clear()
        for place in places:
            self.metrics.recoveries.assigned(place)
        self.claim_missing("assigned")
        if not self.lines:
            self.reader.start({})
        self.metrics.health.set("kafka", True, f"{len(places)} partitions assigned")

    def publish(self, claims: Mapping[Place, Claim]) -> None:
        """Tell the group how far these ledgers are: for take_over, before anything of a batch leaves the process."""
        problem = self.reader.publish({place: claim.mark for place, claim in claims.items()})
        if problem:
            self.metrics.limited.warning("kafka.commit_failed", text=problem)

    def on_revoke(self, places: list[Place]) -> None:
        """The group takes these partitions away."""
        for place in places:
            self.wanted.discard(place)
            self._release(place)
            self.metrics.outboxes.forget(place)
            self.metrics.recoveries.given_away(place)

    def release_all(self) -> None:
        """Trim what is acknowledged and forget all lines: the process ends."""
        for place in list(self.lines):
            self._release(place)

    def _release(self, place: Place) -> None:
        line = self._forget(place)
        if line is None:
            return
        try:
            self.ledger.touch(line.claim)
        except Retriable as error:  # the next owner relays what could not be trimmed; its receivers drop it
            self.metrics.limited.warning("partition.untrimmed", place=place, text=str(error))

    def drop(self, places: list[Place], wait_s: float = BACK_OFF_S, cause: Cause = Cause.FAULT) -> None:
        """Forget these lines; they are claimed again after wait_s."""
        for place in places:
            self._forget(place)
            self.metrics.recoveries.lost(place, cause)
            self.not_before_s[place] = time.monotonic() + wait_s

    def _forget(self, place: Place) -> Line | None:
        line = self.lines.pop(place, None)
        if line is not None:
            self.metrics.forget(*place)
        return line

    def claim_missing(self, reason: str) -> None:
        """Claim every wanted partition that is due, relay what a former owner left, then name all positions anew."""
        now = time.monotonic()
        due = [place for place in self.wanted - self.lines.keys() if self.not_before_s.get(place, 0.0) <= now]
        missing = sorted(due)  # what is refused names the first, every time
        if not missing:
            return
        slots = self._slots(missing)
        try:
            published = self.reader.committed(list(slots))
            self.metrics.health.set("kafka", True, f"{len(self.wanted)} partitions assigned")
        except Retriable as error:
            self._not_now(missing, "kafka", error)
            return
        try:
            refuse_older(self.ledger, slots, published)
        except Retriable as error:
            self._not_now(missing, "redis", error)
            return
        for place in missing:
            try:
                self.lines[place] = self._claim(place, published.get(place))
                self.metrics.claims.labels(reason).inc()
                self.metrics.health.set("redis", True)
            except Retriable as error:
                self._not_now([place], "redis", error)
        self.reader.start({p: line.claim.position for p, line in self.lines.items() if not line.is_stopped})

    def _slots(self, missing: list[Place]) -> dict[Place, Slot]:
        """Whose state lies in the slots of these places: with a shared slot, that of all partitions."""
        places = self.log.firsts if self.shared_slot else missing
        return {(topic, number): Slot(self.service, number, self.shared_slot) for topic, number in places}

    def _not_now(self, places: list[Place], backend: str, error: Retriable) -> None:
        for place in places:
            self.not_before_s[place] = time.monotonic() + BACK_OFF_S
        self.metrics.health.set(backend, False, str(error))
        self.metrics.limited.error("partition.claim_failed", places=places, text=str(error))

    def _claim(self, place: Place, published: Mark | None) -> Line:
        topic, partition = place
        slot = Slot(self.service, partition, self.shared_slot)
        first = self.log.firsts.get(place, 0)
        claim = take_over(self.ledger, published, slot, topic, self.log.cluster_id, self.log.topic_id, first)
        worker = self.open_worker(claim)
        if claim.unsent:
            fp("before_restore", Retriable)
            entries = worker.restore(claim.unsent)
            claim.restored(entries)
            self.metrics.outboxes.owe(place, len(entries))
            self.publish({place: claim})
            self.send([(claim, entry) for entry in entries])
            fp("after_restore", Retriable)
            self.metrics.outboxes.paid(place)
        self.metrics.log.info(
            "partition.claimed", topic=topic, partition=partition, epoch=claim.epoch, position=claim.position,
            unsent=len(claim.unsent), tries=claim.tries,
        )  # fmt: skip
        return Line(
            topic, claim, worker, self.metrics, self.service, self.is_numbered, touched_s=time.monotonic()
        )  # fmt: skip
