"""The archive's loop: read, archive the batches that are due, wait without losing anything while ClickHouse is away.

The chassis loop applies every poll at once; ClickHouse wants few large inserts and a step between intent and position,
so this one buffers per partition.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from services.chassis.errors import Fenced, Retriable
from services.chassis.kafka.debts import Cause
from services.chassis.kafka.reader import Place, Reader
from services.chassis.kafka.relay import Relay
from services.chassis.records import Entry
from services.chassis.redis.ledger import Mismatch
from services.chassis.run import Stop
from services.profile.archive.batches import Archiver, NotInserted
from services.profile.archive.line import Limits, Line
from services.profile.archive.metrics import SERVICE, ArchiveMetrics
from services.profile.archive.ownership import Ownership

GROUP = f"touchstream-{SERVICE}"
POLL_S = 0.1
# Records wait for their batch anyway, and a round costs CPU whatever it reads: lower makes hundreds a second. Higher:
# a stop waits for it, and so does what the client holds.
GATHER_S = 0.2
POLL_RECORDS = 10_000
# One round inserts at most this long before it polls again: the group must hear from us, waiting records be read.
ROUND_S = 1.0
# An insert may hang as long as its request (30 s), and a round ends with one. Shorter: the group takes the partitions
# away in the middle of it, and everybody claims again; nothing is lost, but nothing gets on either.
LONGEST_ROUND_MS = 60_000
# First and longest pause while ClickHouse does not answer. A shorter longest one only makes noise; a longer one delays
# the return of fresh data after the server is back.
BACK_OFF_S, LONGEST_BACK_OFF_S = 0.5, 15.0


@dataclass(frozen=True, slots=True)
class Pace:
    """linger_s: longest wait of a record for its batch; inserts_per_s: what ClickHouse is asked to take;
    buffer_bytes: what is held while it takes nothing; fenced_wait_s: until a lost partition is claimed again."""

    linger_s: float
    inserts_per_s: float
    buffer_bytes: int
    fenced_wait_s: float


class Archive:
    """The loop of one process. `upkeep` is called about once a second."""

    def __init__(
        self, reader: Reader, relay: Relay, ownership: Ownership, archiver: Archiver, limits: Limits, pace: Pace,
        metrics: ArchiveMetrics, upkeep: Callable[[], None],
    ) -> None:  # fmt: skip
        self._reader, self._relay, self._ownership, self._archiver = reader, relay, ownership, archiver
        self._limits, self._pace, self._metrics, self._upkeep = limits, pace, metrics, upkeep
        self._retry_at_s, self._back_off_s = 0.0, BACK_OFF_S
        self._next_report_s = 0.0

    def run(self, stop: Stop) -> None:
        """Work until stop is set. What is read and not inserted by then is read again at the next start."""
        self._ownership.join()
        try:
            while not stop.is_set():
                self.round()
        finally:
            self._ownership.leave()

    def round(self) -> None:
        """Read, archive what is due, report."""
        self._ownership.claim_missing()
        found = self._reader.read(POLL_RECORDS, POLL_S)
        now_s = time.monotonic()
        for place, records in found.items():
            line = self._ownership.lines.get(place)
            if line is not None:
                line.add(records, now_s)
        if now_s >= self._retry_at_s:
            self._archive_due(now_s)
        self._recovered()
        self._balance()
        if time.monotonic() >= self._next_report_s:
            self._next_report_s = time.monotonic() + 1.0
            self._report()
            self._upkeep()

    def _archive_due(self, now_s: float) -> None:
        """Advance due lines, the longest waiting first, until the round's time is over or ClickHouse refuses."""
        lines = self._ownership.lines
        busy = sum(1 for line in lines.values() if line.records)
        linger_s = max(self._pace.linger_s, busy / self._pace.inserts_per_s)
        due = [(line.since_s, place) for place, line in lines.items() if line.is_due(now_s, linger_s, self._limits)]
        for _, place in sorted(due):
            if not self._advance(place, lines[place]) or time.monotonic() - now_s > ROUND_S:
                break

    def _advance(self, place: Place, line: Line) -> bool:
        """One batch of one line; False when ClickHouse does not take it."""
        try:
            entry = self._archiver.advance(line, lambda: self._ownership.publish({place: line.claim}))
            if entry is not None and entry.outputs:
                self._metrics.outboxes.owe(place, 1)
                self._send(line, entry)
                self._metrics.outboxes.paid(place)
        except NotInserted as error:
            self._clickhouse_away(str(error))
            return False
        except Fenced as error:
            self._ownership.drop(place, self._pace.fenced_wait_s, Cause.FENCED)
            self._metrics.fenced.inc()
            self._metrics.limited.warning("partition.fenced", place=place, text=str(error))
        except Retriable as error:
            self._ownership.drop(place)
            self._metrics.failures.inc()
            self._metrics.mismatches.inc(isinstance(error, Mismatch))
            self._metrics.limited.warning("partition.retry", place=place, text=str(error))
        else:
            if line.is_stopped:
                self._reader.pause([place])
            if entry is not None:
                self._clickhouse_back()
        return True

    def _recovered(self) -> None:
        """Partitions that were lost count as back when a batch of theirs is in ClickHouse, or nothing is left to do."""
        for place in self._metrics.recoveries.pending():
            line = self._ownership.lines.get(place)
            if line is None or line.is_stopped:
                continue
            end = self._reader.end(place)
            if line.has_archived or (end is not None and end <= line.claim.position):
                self._metrics.recoveries.back(place)

    def _send(self, line: Line, entry: Entry) -> None:
        self._relay.send([(line.claim, entry)])
        self._metrics.sent.labels(f"{SERVICE}.dead").inc(len(entry.outputs))
        self._ownership.trim(line)

    def _clickhouse_away(self, text: str) -> None:
        wait_s = self._back_off_s
        self._retry_at_s = time.monotonic() + wait_s
        self._back_off_s = min(wait_s * 2, LONGEST_BACK_OFF_S)
        self._metrics.failed.inc()
        self._metrics.up.set(0)
        self._metrics.health.set("clickhouse", False, text)
        self._metrics.limited.warning("insert.failed", text=text, next_try_s=wait_s)

    def _clickhouse_back(self) -> None:
        self._back_off_s = BACK_OFF_S
        self._metrics.up.set(1)
        self._metrics.health.set("clickhouse", True)

    def _balance(self) -> None:
        """Pause what is full, and everything while the buffers are; a batch begun always gets its records."""
        total = sum(line.size_bytes for line in self._ownership.lines.values())
        self._metrics.buffered.set(total)
        pause: list[Place] = []
        resume: list[Place] = []
        for place, line in self._ownership.lines.items():
            if line.is_stopped:
                continue
            is_held = line.is_full(self._limits) or (line.intent is None and total >= self._pace.buffer_bytes)
            if is_held != line.is_paused:
                (pause if is_held else resume).append(place)
                line.is_paused = is_held
        if pause:
            self._reader.pause(pause)
        if resume:
            self._reader.resume(resume)

    def _report(self) -> None:
        """Lag and health gauges, and how far the group is, for other people's dashboards as well."""
        lines = self._ownership.lines
        self._metrics.health.set("kafka", not self._reader.error, self._reader.error or f"{len(lines)} partitions")
        for (topic, partition), line in lines.items():
            end = self._reader.end((topic, partition))
            if end is not None:
                self._metrics.lag.labels(topic, str(partition)).set(max(0, end - line.claim.position))
        if lines:
            self._ownership.publish({place: line.claim for place, line in lines.items()})
