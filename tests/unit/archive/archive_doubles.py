"""What archive talks to, in memory: a ClickHouse that remembers tokens, events to read, one owner of a partition."""

from collections.abc import Callable, Sequence
from typing import Any

from services.chassis.avro import Codec
from services.chassis.errors import Retriable
from services.chassis.health import Health
from services.chassis.records import Entry, Output, Record, unpack_entry
from services.chassis.redis.slots import Slot
from services.chassis.registry import open_registry
from services.chassis.testing.fake_ledger import FakeLedger, FakeServer, Hook
from services.profile.archive.batches import Archiver
from services.profile.archive.decode import Decoder
from services.profile.archive.line import Limits, Line
from services.profile.archive.metrics import ArchiveMetrics

AT = 1_750_000_000_000
TOPIC = "touchpoints.resolved"
SLOT = Slot(f"archive.{TOPIC}", 0)
LIMITS = Limits(rows=4, size_bytes=1_000_000)
_touchpoint = Codec("touchpoint")
_dead_letter = Codec("dead_letter")
_decoder = Decoder(TOPIC)
_metrics: list[ArchiveMetrics] = []


def metrics() -> ArchiveMetrics:
    """The process's one set of metrics (the registry refuses a second one)."""
    if not _metrics:
        _metrics.append(ArchiveMetrics(Health()))
    return _metrics[0]


class Crash(BaseException):
    """The process dies here."""


class MemoryClickhouse:
    """Tables as lists of rows; an insert under a known token changes nothing.

    `fate` is asked for each insert: ok (applied and answered), lost (applied, the answer is an error), refused (not
    applied, an error), crash before or crash after.
    """

    def __init__(self, fate: Callable[[], str] = lambda: "ok") -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.tokens: set[tuple[str, str | None]] = set()
        self.fate = fate
        self.inserts: list[tuple[str, int]] = []

    def insert(
        self, table: str, columns: Sequence[str], column_data: Sequence[Sequence[object]], token: str | None
    ) -> int:
        """See services.chassis.clickhouse."""
        fate = self.fate()
        if fate == "crash before":
            raise Crash
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*column_data, strict=True)]
        self.inserts.append((table, len(rows)))
        if fate != "refused" and (table, token) not in self.tokens:
            self.tokens.add((table, token))
            self.tables.setdefault(table, []).extend(rows)
        if fate == "crash after":
            raise Crash
        if fate != "ok":
            raise Retriable(f"insert into {table}: {fate}")
        return len(rows)

    def event_ids(self) -> list[str]:
        """The events that are there, in the order of their insert."""
        return [row["event_id"] for row in self.tables.get("events_raw", [])]


class Sent:
    """What reached the dead-letter topic, with the numbers by which readers drop repetitions."""

    def __init__(self) -> None:
        self.letters: list[tuple[bytes, int]] = []

    def offsets(self) -> list[int]:
        """Offsets of the dead records as a reader that accepts by number sees them."""
        seen: dict[bytes, int] = {}
        for number, offset in self.letters:
            seen.setdefault(number, offset)
        return list(seen.values())


class Owner:
    """One process that claimed the partition: reads the log it is given, archives batch by batch."""

    def __init__(
        self, log: list[Record], server: FakeServer, clickhouse: MemoryClickhouse, sent: Sent, hook: Hook | None = None,
        limits: Limits = LIMITS, is_compacted: bool = False,
    ) -> None:  # fmt: skip
        self.log, self.sent, self.limits = log, sent, limits
        self.ledger = FakeLedger(server, hook)
        self.archiver = Archiver(
            self.ledger, clickhouse, {TOPIC: _decoder}, 1, limits, metrics(), lambda: AT, open_registry()
        )
        claim = self.ledger.claim(SLOT, TOPIC, "cluster", "topic", 0)
        entries = [unpack_entry(blob) for blob in claim.unsent]
        claim.restored(entries)
        self.line = Line(TOPIC, claim, "cluster/topic", is_compacted)
        for entry in entries:
            self._relay(entry)
        claim.acknowledge()

    def read(self) -> None:
        """Take in everything that is in the log."""
        self.line.add([record for record in self.log if record.offset >= self.line.next_offset], 0.0)

    def step(self) -> bool:
        """Archive one batch if there is one; False when there is nothing to do. Raises what the archiver raises."""
        if not self.line.is_due(1e9, 0.0, self.limits):
            return False
        entry = self.archiver.advance(self.line)
        if entry is not None:
            self._relay(entry)
            self.line.claim.acknowledge()
        return True

    def finish(self) -> None:
        """Archive everything that is in the log."""
        self.read()
        while self.step():
            self.read()

    def _relay(self, entry: Entry) -> None:
        for output in entry.outputs:
            self.sent.letters.append((self.line.claim.number(output), dead_offset(output)))


def dead_offset(output: Output) -> int:
    """The offset that a dead letter names."""
    return int(_dead_letter.decode(output.value)["offset"])


def touchpoint(**changes: object) -> bytes:
    """The value of an event record."""
    fields: dict[str, Any] = {
        "event_id": "e", "source": "shop", "type": "track", "name": "Product Viewed",
        "identifiers": ["anonymous_id:a"], "occurred_at": AT, "received_at": AT,
    }  # fmt: skip
    return _touchpoint.encode(fields | changes)


def event(offset: int, number: int | None = None, value: bytes | None = None, **headers: bytes) -> Record:
    """An event record; `number` is its sequence number, default offset + 1."""
    known = {
        "kind": b"event", "n": b"%d" % (offset + 1), "node": b"anonymous_id:ab", "src": b"1.0.%d" % offset,
        "seq": b"0:%d" % (offset + 1 if number is None else number),
    }  # fmt: skip
    value = touchpoint(event_id=f"e{offset}") if value is None else value
    return Record(TOPIC, 0, offset, b"customer", value, known | headers, AT + offset)
