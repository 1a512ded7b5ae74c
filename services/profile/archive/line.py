"""One claimed partition: what was read and not yet archived, where the next batch ends, the intent of a batch begun.

A batch goes through three steps, each repeatable after a crash:
  intent    {upto, token} is stored beside the position: from now on exactly these records are this batch
  insert    under that token; a repetition within ClickHouse's deduplication window changes nothing
  position  moves to upto, the intent goes, dead letters enter the outbox, all in one script
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from services.chassis.ids import stable_id
from services.chassis.records import Record
from services.chassis.redis.claim import Claim, Poisoned, Verdict, accept, number_of
from services.profile.archive.decode import Decoded


class Intent(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """The batch from the ledger's position up to (not including) offset `upto` is inserted under `token`."""

    upto: int
    token: str


class Suspect(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """The record at `offset` is being decoded for the `attempt`-th time: read after a crash, it names the killer."""

    offset: int
    attempt: int


_extra = msgspec.msgpack.Decoder(Intent | Suspect)


def begun_until(extra: bytes) -> int | None:
    """Where the batch ends that a ledger's opaque bytes say is begun; None when there is none."""
    stored = _extra.decode(extra) if extra else None
    return stored.upto if isinstance(stored, Intent) else None


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is cut: rows or bytes at most, else the age of its oldest record."""

    rows: int
    size_bytes: int


@dataclass(slots=True)
class Batch:
    """Records position … upto-1 judged: `taken` are new, `seen` holds the sequence numbers after them."""

    taken: list[Record]
    upto: int
    seen: dict[str, int]
    log_ms: int
    oldest_log_ms: int
    gap: Record | None = None
    token: str = ""
    decoded: Decoded | None = None
    # Whether an insert of it was begun before, by this process or by one that stored the intent.
    was_tried: bool = False
    poisoned: Poisoned = field(default_factory=Poisoned)


@dataclass(slots=True)
class Line:
    """State of one owned partition under one epoch. `log_key` names this life of the topic (cluster and topic id)."""

    topic: str
    claim: Claim
    log_key: str
    is_compacted: bool = False
    intent: Intent | None = None
    suspect: Suspect | None = None
    careful_until: int = 0  # records below this offset are decoded one by one, see batches.py
    records: list[Record] = field(default_factory=list)
    size_bytes: int = 0
    since_s: float = 0.0
    next_offset: int = 0
    batch: Batch | None = None
    is_stopped: bool = False
    is_paused: bool = False
    has_archived: bool = False  # under this claim

    def __post_init__(self) -> None:
        stored = _extra.decode(self.claim.extra) if self.claim.extra else None
        self.intent = stored if isinstance(stored, Intent) else None
        self.suspect = stored if isinstance(stored, Suspect) else None
        self.next_offset = self.claim.position

    def add(self, records: Sequence[Record], now_s: float) -> None:
        """Take in what was read; what is here already is passed over."""
        fresh = [record for record in records if record.offset >= self.next_offset]
        if not fresh:
            return
        if not self.records:
            self.since_s = now_s
        self.records += fresh
        self.size_bytes += sum(len(record.value or b"") for record in fresh)
        self.next_offset = fresh[-1].offset + 1

    def is_due(self, now_s: float, linger_s: float, limits: Limits) -> bool:
        """Whether a batch can be cut now. A begun one waits for its last record and for nothing else."""
        if self.is_stopped:
            return False
        if self.batch is not None:
            return True
        if self.intent is not None:
            return self.next_offset >= self.intent.upto
        if not self.records:
            return False
        return (
            now_s - self.since_s >= linger_s or len(self.records) >= limits.rows or self.size_bytes >= limits.size_bytes
        )

    def is_full(self, limits: Limits) -> bool:
        """Whether reading on would only cost memory."""
        if self.intent is not None:
            return self.next_offset >= self.intent.upto
        return len(self.records) >= limits.rows or self.size_bytes >= limits.size_bytes

    def cut(self, limits: Limits, before: int | None = None) -> Batch:
        """The next batch: exactly the intent's records when one was begun, else as much as the limits allow.

        `before`: the batch ends before this offset at the latest.
        """
        seen = dict(self.claim.seen)
        batch = Batch([], self.claim.position, seen, 0, self.records[0].log_ms if self.records else 0)
        size, stop = 0, before if before is not None else self.next_offset
        for count, record in enumerate(self.records):
            if self.intent is not None:
                if record.offset >= self.intent.upto:
                    break
            elif record.offset >= stop or count >= limits.rows or size >= limits.size_bytes:
                break
            size += len(record.value or b"")
            verdict = accept(seen, record)
            numbered = number_of(record) if verdict is Verdict.GAP and self.is_compacted else None
            if numbered is not None:
                # Compaction removed what a newer snapshot replaced: a hole here is no loss.
                seen[numbered[0]] = numbered[1]
            elif verdict is Verdict.GAP:
                batch.gap = record
                break
            if verdict is not Verdict.DUPLICATE:
                batch.taken.append(record)
            batch.upto, batch.log_ms = record.offset + 1, record.log_ms
        if batch.gap is not None and self.intent is not None:
            # It was not there when the batch was begun: the log itself has changed. Touch nothing.
            batch.taken, batch.upto = [], self.claim.position
        elif self.intent is not None:
            batch.upto, batch.token = self.intent.upto, self.intent.token
        else:
            batch.token = self._new_token(batch.upto)
        return batch

    def _new_token(self, upto: int) -> str:
        # Never the same for two batches: a log that begins anew at offset 0, or a ledger that does, must not find its
        # rows hidden by what another life inserted under the same range.
        place = f"{self.topic}/{self.claim.slot.partition}/{self.claim.position}-{upto}"
        return f"{place}/{stable_id(self.log_key, place, str(self.claim.generation), str(self.claim.epoch))[:16]}"

    def done(self, batch: Batch, now_s: float) -> None:
        """The batch is archived and the position moved: forget its records."""
        index = next((i for i, record in enumerate(self.records) if record.offset >= batch.upto), len(self.records))
        del self.records[:index]
        self.size_bytes = sum(len(record.value or b"") for record in self.records)
        self.since_s = now_s
        self.intent, self.suspect, self.batch, self.has_archived = None, None, None, True
