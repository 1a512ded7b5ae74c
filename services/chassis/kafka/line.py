"""One owned partition under one epoch: accept, isolate what kills the process, hand batches to the service's worker."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from services.chassis.clock import Clock
from services.chassis.errors import Fatal, Retriable
from services.chassis.kafka.loop_metrics import LoopMetrics
from services.chassis.kafka.poison import dead_in, judge
from services.chassis.records import Decision, Entry, Record, unpack_entry
from services.chassis.redis.claim import Claim, Verdict, accept
from services.chassis.redis.ledger import LedgerPort
from services.chassis.redis.slots import Slot

# A partition claimed this often at the same position is worked record by record, each attempt counted in the ledger.
SUSPICIOUS_CLAIMS = 3
KILLS_UNTIL_POISON = 3
DUE_POLL_S = 0.2
# Timers that one round of a process works off, all its partitions together. profile takes 0.3 ms for one: a record that
# comes meanwhile waits 0.3 s. Fewer: what every round costs, however small, is paid more often.
DUES_A_ROUND = 1_000
LEAST_DUES = 20


class Worker(Protocol):
    """A service's work on one claimed partition. A new one is made for every claim, so caches belong to the epoch.

    It asks poison.judge before it applies anything. due_limit: how many timers a step may work off; is_behind: more
    than that are due.
    """

    due_limit: int
    is_behind: bool

    def step(
        self, records: list[Record], seen: dict[str, int], position: int, log_ms: int, now_ms: int
    ) -> Entry | None:
        """Decide and apply one batch (possibly empty); returns what must be relayed, None when nothing was applied."""

    def restore(self, blobs: list[bytes]) -> list[Entry]:
        """Outbox entries that a former owner left, as outputs."""


class PartitionHandler(Protocol):
    """The pure-ish part of a service: loads what it needs in one round trip, decides, touches nothing else."""

    def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
        """Everything the batch changes. Also called with no records and no ticks while somebody waits."""


HandlerFactory = Callable[[Slot, LedgerPort, dict[str, str]], PartitionHandler]


class LedgerWorker:
    """A Worker for services whose decisions are made in Python and applied by apply.lua (profile, rules)."""

    def __init__(
        self, claim: Claim, ledger: LedgerPort, handler: PartitionHandler,
        more_ticks: Callable[[int], list[str]] | None = None,
    ) -> None:  # fmt: skip
        """`more_ticks`: about so many to be looked at although no timer is due (profile, when thresholds are new)."""
        self.due_limit, self.is_behind = DUES_A_ROUND, False
        self._claim, self._ledger, self._handler = claim, ledger, handler
        self._more_ticks = more_ticks
        self._next_due_s = 0.0

    def step(
        self, records: list[Record], seen: dict[str, int], position: int, log_ms: int, now_ms: int
    ) -> Entry | None:
        """See Worker."""
        ticks = self._ticks(now_ms)
        moved = position != self._claim.position
        decision = None
        if records or ticks or self._claim.waits:
            decision = self._handler.decide(records, ticks, now_ms)
        if decision is None:
            if not moved:
                return None
            decision = Decision()
        self._claim.poisoned = judge(self._claim, records, dead_in(decision))
        return self._ledger.apply(self._claim, decision, seen, position, log_ms)

    def _ticks(self, now_ms: int) -> list[str]:
        if time.monotonic() < self._next_due_s:
            return []
        ticks = self._ledger.due(self._claim.slot, now_ms, self.due_limit)
        self.is_behind = len(ticks) == self.due_limit
        if not self.is_behind:
            self._next_due_s = time.monotonic() + DUE_POLL_S
            if self._more_ticks is not None and len(ticks) <= self.due_limit // 2:
                ticks = list(dict.fromkeys(ticks + self._more_ticks(self.due_limit // 2)))
        return ticks

    def restore(self, blobs: list[bytes]) -> list[Entry]:
        """See Worker."""
        return [unpack_entry(blob) for blob in blobs]


@dataclass(slots=True)
class Line:
    """The state of one owned partition between rounds."""

    topic: str
    claim: Claim
    worker: Worker
    metrics: LoopMetrics
    service: str
    is_numbered: bool = True  # False: written by sources, whose header `seq` would mean nothing
    is_stopped: bool = False
    touched_s: float = 0.0
    careful_until: int = -1  # records below this offset are worked one at a time

    def advance(self, records: list[Record], ledger: LedgerPort, clock: Clock) -> list[Entry]:
        """Work off one poll's records; returns entries to relay, in order. Raises Fenced, Retriable, Fatal."""
        records = [record for record in records if record.offset >= self.claim.position]
        if self.claim.tries >= SUSPICIOUS_CLAIMS and records and self.careful_until < 0:
            self.careful_until = records[-1].offset + 1
        careful = records and records[0].offset < self.careful_until
        entries: list[Entry] = []
        for batch in [[record] for record in records] if careful else self._in_parts(records):
            entry = self._step_carefully(batch, ledger, clock()) if careful else self._step(batch, clock())
            if entry is not None:
                entries.append(entry)
            if self.is_stopped:
                break
        return entries

    def _in_parts(self, records: list[Record]) -> list[list[Record]]:
        """One batch, or two where an operator's word on dead letters ends within it."""
        allowed = self.claim.poisoned.allowed
        below = [record for record in records if record.offset < allowed]
        return [below, records[len(below) :]] if 0 < len(below) < len(records) else [records]

    def _step_carefully(self, records: list[Record], ledger: LedgerPort, now_ms: int) -> Entry | None:
        """One record, under a count that a death leaves standing; waiting for others is no sign of guilt."""
        record = records[0]
        attempts = ledger.suspect(self.claim, record.offset)
        if attempts > KILLS_UNTIL_POISON:
            record.poison = f"processing it ended the process {attempts - 1} times"
        try:
            entry = self._step(records, now_ms)
        except (Retriable, Fatal):  # a stop on purpose is no sign of guilt either
            ledger.acquit(self.claim, record.offset)
            raise
        ledger.acquit(self.claim, record.offset)
        return entry

    def _step(self, records: list[Record], now_ms: int) -> Entry | None:
        seen = dict(self.claim.seen)
        taken, dropped, position, log_ms = [], 0, self.claim.position, 0
        for record in records:
            verdict = accept(seen, record) if self.is_numbered else Verdict.TAKE
            if verdict is Verdict.GAP:
                self._stop_at_gap(record, seen)
                break
            if verdict is Verdict.TAKE:
                taken.append(record)
            else:
                dropped += 1
            position, log_ms = record.offset + 1, record.log_ms
        entry = self.worker.step(taken, seen, position, log_ms, now_ms)
        self.metrics.taken(self.topic, len(taken), dropped)
        if entry is not None:
            self.touched_s = time.monotonic()
            self.metrics.dead(self.topic, dead_in(entry))
        return entry

    def _stop_at_gap(self, record: Record, seen: dict[str, int]) -> None:
        """A number is missing: something that was acknowledged upstream is not in the log. Going on would hide it."""
        self.is_stopped = True
        self.metrics.gap(self.topic, self.claim.slot.partition, record, seen)
