"""One batch from its first record to its position: decode, intent, insert, position, dead letters; in this order.

Every step may be the last one before a crash; line.py says why that is safe.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from services.chassis.clock import Clock
from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import fp
from services.chassis.kafka.dead_letter import dead_letter
from services.chassis.kafka.line import KILLS_UNTIL_POISON, SUSPICIOUS_CLAIMS
from services.chassis.kafka.poison import judge
from services.chassis.records import Decision, Entry
from services.chassis.redis.claim import Claim
from services.chassis.registry import Registry
from services.profile.archive.decode import Decoder
from services.profile.archive.line import Batch, Intent, Limits, Line, Suspect
from services.profile.archive.metrics import SERVICE, ArchiveMetrics

# A partition that was claimed often without getting on is worked in small batches whose records are tried one by one.
CAREFUL_ROWS = 200


class Inserter(Protocol):
    """What is needed of services.chassis.clickhouse.Clickhouse."""

    def insert(
        self, table: str, columns: Sequence[str], column_data: Sequence[Sequence[object]], token: str | None
    ) -> int: ...


class ArchiveLedger(Protocol):
    """What is needed of services.chassis.redis.ledger.Ledger."""

    def apply(self, claim: Claim, decision: Decision, seen: dict[str, int], position: int, log_ms: int) -> Entry: ...
    def save_extra(self, claim: Claim, extra: bytes, seen: dict[str, int], position: int) -> None: ...


class NotInserted(Retriable):
    """ClickHouse did not acknowledge; the batch stays begun and is sent again under its token."""


class Archiver:
    """Carries batches through their steps. Raises Fenced and other Retriable of the ledger, NotInserted, Fatal."""

    def __init__(
        self, ledger: ArchiveLedger, clickhouse: Inserter, decoders: dict[str, Decoder], partitions: int,
        limits: Limits, metrics: ArchiveMetrics, clock: Clock, registry: Registry,
    ) -> None:  # fmt: skip
        self._ledger, self._clickhouse, self._decoders = ledger, clickhouse, decoders
        self._partitions, self._limits, self._metrics, self._clock = partitions, limits, metrics, clock
        self._registry = registry

    def advance(self, line: Line, publish: Callable[[], None] = lambda: None) -> Entry | None:
        """Bring the line's next batch to its position; what is to be relayed, None when the line stands at a gap.

        `publish` is called before anything of the batch leaves the process.
        """
        batch = line.batch
        if batch is None:
            batch = self._begin(line)
            if batch is None:
                return None
        publish()
        self._insert(line, batch)
        fp("after_insert", Retriable)
        entry = self._commit(line, batch)
        if entry is not None and entry.outputs:
            publish()
        fp("after_position", Retriable)
        self._report(line, batch)
        line.done(batch, time.monotonic())
        return entry

    def _begin(self, line: Line) -> Batch | None:
        """Cut, decode, store the intent. A batch without rows needs none."""
        is_careful = self._is_careful(line)
        batch = self._cut_carefully(line) if is_careful else line.cut(self._limits, _allowed(line))
        if batch.gap is not None and batch.upto == line.claim.position:
            line.is_stopped = True
            self._metrics.gap(line.topic, line.claim.slot.partition, batch.gap, batch.seen)
            return None
        decoder = self._decoders[line.topic]
        if is_careful:
            self._try_each(line, batch)
        batch.decoded = decoder.decode(batch.taken)
        try:
            batch.poisoned = judge(line.claim, batch.taken, len(batch.decoded.dead))
        except Fatal:
            if is_careful:  # decoding did not end the process: nobody is to be blamed for this stop
                self._ledger.save_extra(line.claim, b"", line.claim.seen, line.claim.position)
            raise
        if line.intent is not None:
            batch.was_tried = True
        elif batch.decoded.rows:
            intent = Intent(batch.upto, batch.token)
            self._ledger.save_extra(line.claim, msgspec.msgpack.encode(intent), line.claim.seen, line.claim.position)
            line.intent = intent
        fp("after_intent", Retriable)
        line.batch = batch
        return batch

    def _is_careful(self, line: Line) -> bool:
        """Whether decoding may be what ended the process again and again.

        Only decoding can kill by a record's content, and an intent says that it did not.
        """
        if line.intent is not None:
            return False
        if line.claim.applied == 0 and line.careful_until == 0 and line.claim.tries >= SUSPICIOUS_CLAIMS:
            line.careful_until = line.next_offset
        return line.claim.position < line.careful_until

    def _cut_carefully(self, line: Line) -> Batch:
        """A short batch; it ends with the record that has killed often enough to be known for it, if there is one."""
        killer = line.suspect
        before = _allowed(line)
        if killer is not None and killer.attempt >= KILLS_UNTIL_POISON:
            before = min(killer.offset + 1, before or killer.offset + 1)
        return line.cut(Limits(CAREFUL_ROWS, self._limits.size_bytes), before)

    def _try_each(self, line: Line, batch: Batch) -> None:
        """Decode record by record, each named in the ledger before it can do harm."""
        decoder, claim = self._decoders[line.topic], line.claim
        for record in batch.taken:
            known = line.suspect is not None and line.suspect.offset == record.offset
            attempt = line.suspect.attempt + 1 if known and line.suspect is not None else 1
            if attempt > KILLS_UNTIL_POISON:
                record.poison = f"decoding it ended the process {attempt - 1} times"
                continue
            suspect = Suspect(record.offset, attempt)
            self._ledger.save_extra(claim, msgspec.msgpack.encode(suspect), claim.seen, claim.position)
            decoder.decode([record])

    def _insert(self, line: Line, batch: Batch) -> None:
        assert batch.decoded is not None
        if batch.was_tried and batch.decoded.rows:
            self._metrics.repeats.labels(line.topic).inc()
        batch.was_tried = True
        for rows in batch.decoded.rows:
            started = time.monotonic()
            try:
                self._clickhouse.insert(rows.table, rows.columns, rows.data, f"{batch.token}/{rows.table}")
            except Retriable as error:
                raise NotInserted(str(error)) from error
            self._metrics.insert_s.labels(rows.table).observe(time.monotonic() - started)
            fp("between_tables", NotInserted)

    def _commit(self, line: Line, batch: Batch) -> Entry:
        assert batch.decoded is not None
        now_ms = self._clock()
        outputs = [
            dead_letter(record, SERVICE, reason, self._partitions, self._registry, now_ms)
            for record, reason in batch.decoded.dead
        ]
        claim = line.claim
        former = claim.extra, claim.poisoned
        claim.extra, claim.poisoned = b"", batch.poisoned
        try:
            return self._ledger.apply(line.claim, Decision(outputs=outputs), batch.seen, batch.upto, batch.log_ms)
        except Retriable:
            claim.extra, claim.poisoned = former
            raise

    def _report(self, line: Line, batch: Batch) -> None:
        assert batch.decoded is not None
        read = sum(1 for record in line.records if record.offset < batch.upto)
        self._metrics.taken(line.topic, len(batch.taken), read - len(batch.taken))
        self._metrics.dead(line.topic, len(batch.decoded.dead))
        rows = {rows.table: len(rows) for rows in batch.decoded.rows}
        for table, count in rows.items():
            self._metrics.rows.labels(table).inc(count)
        if rows and batch.oldest_log_ms > 0:
            age_s = max(0, self._clock() - batch.oldest_log_ms) / 1000
            self._metrics.freshness_s.labels(line.topic).observe(age_s)
        self._metrics.log.info(
            "batch.archived", topic=line.topic, partition=line.claim.slot.partition, upto=batch.upto, rows=rows,
            dead=len(batch.decoded.dead), duplicates=read - len(batch.taken),
        )  # fmt: skip


def _allowed(line: Line) -> int | None:
    """The offset at which an operator's word on dead letters ends, while the line is below it: no batch lies across."""
    allowed = line.claim.poisoned.allowed
    return allowed if line.claim.position < allowed else None
