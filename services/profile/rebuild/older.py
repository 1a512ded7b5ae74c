"""What profile decided before the oldest record of profile.changes, worked off anew from what ClickHouse tells.

A decision depends on its business day and on the thresholds in force, not on the second. What changed a tag or the
stage is decided at the moment the tables name, be it time or a record; every other record in the order in which the
graph decided, at the moment its event was logged. Where midnight or new thresholds came between that moment and the
decision of a record that changed nothing itself, a hand-over above all, what it passed on may differ from what stands
in `profiles` and profile.changes; then the rebuild says so.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, TypeAlias

from services.chassis.clickhouse import Clickhouse
from services.chassis.kafka.streams import Streams
from services.chassis.records import Record
from services.profile.codec import CHANGES
from services.profile.core.calendar import Calendar

CHUNK = 2_000
PIECES = 64  # hand-overs that one record can bring about
_Coming: TypeAlias = tuple[int, int, int, int, str | Record]
_DECIDED = """
SELECT toUnixTimestamp64Milli(changed_at), log_partition AS p, customer_id, kind, cause FROM {table}
WHERE (kind != 'tick' OR event_id = '') AND log_offset < arrayElement({{firsts:Array(UInt64)}}, p + 1)
"""
_VERSIONS = "SELECT version, toUnixTimestamp64Milli(computed_at) AS at FROM rfm_thresholds FINAL ORDER BY version"


@dataclass(slots=True)
class Chunk:
    """Records, or ticks, to be decided at one moment under one version of thresholds (0: none), by partition."""

    now_ms: int
    version: int
    size: int = 0
    records: dict[int, list[Record]] = field(default_factory=dict)
    ticks: dict[int, list[str]] = field(default_factory=dict)


class Older:
    """`firsts`: oldest offset of profile.changes by partition; `records`: in the order in which they were decided."""

    def __init__(
        self, clickhouse: Clickhouse, firsts: list[int], calendar: Calendar, records: Iterable[Record]
    ) -> None:
        self._calendar, self.records = calendar, records
        where = {"firsts": firsts}
        ticks = set()
        self._decided: dict[int, int] = {}  # hash of (customer, place of the record behind it) → when
        for table in ("tag_changes_raw", "stage_changes_raw"):
            for at, partition, customer, kind, cause in clickhouse.stream_rows(_DECIDED.format(table=table), where):
                if kind == "tick":
                    ticks.add((at, partition, customer))
                else:
                    self._decided[hash((customer, cause))] = at
        # Moments to come: ticks before records, as in a decision.
        self._coming: list[_Coming] = [(at, 0, n, p, who) for n, (at, p, who) in enumerate(sorted(ticks))]
        versions = [(int(row["at"]), int(row["version"])) for row in clickhouse.query_rows(_VERSIONS)]
        self._times, self._versions = [at for at, _ in versions], [version for _, version in versions]

    def chunks(self) -> Iterator[Chunk]:
        """Everything, in order."""
        chunk: Chunk | None = None
        for at, partition, what in self._moments():
            is_tick = isinstance(what, str)
            if chunk is not None and (
                chunk.size >= CHUNK
                or bool(chunk.ticks) != is_tick
                or (is_tick and chunk.now_ms != at)
                or not self._is_same(chunk, at)
            ):
                yield chunk
                chunk = None
            chunk = chunk or Chunk(at, self._version(at))
            if isinstance(what, str):
                chunk.ticks.setdefault(partition, []).append(what)
            else:
                chunk.records.setdefault(partition, []).append(what)
            chunk.now_ms, chunk.size = max(chunk.now_ms, at), chunk.size + 1
        if chunk is not None:
            yield chunk

    def _moments(self) -> Iterator[tuple[int, int, str | Record]]:
        """(when, partition, record or customer to be looked at), by when."""
        for number, record in enumerate(self.records):
            yield from self._due(record.log_ms)
            at = self._decided_at(record)
            if at > record.log_ms:
                heappush(self._coming, (at, 1, number, record.partition, record))
            else:
                yield record.log_ms, record.partition, record
        yield from self._due(1 << 62)

    def _decided_at(self, record: Record) -> int:
        customer, place = record.key.decode(), record.headers["src"].decode()
        if record.headers["kind"] in (b"event", b"erase"):
            return self._decided.get(hash((customer, place)), 0)
        return max(self._decided.get(hash((customer, f"{place}.{k}")), 0) for k in range(PIECES))

    def _due(self, upto_ms: int) -> Iterator[tuple[int, int, str | Record]]:
        while self._coming and self._coming[0][0] <= upto_ms:
            at, _, _, partition, what = heappop(self._coming)
            yield at, partition, what

    def _is_same(self, chunk: Chunk, at_ms: int) -> bool:
        day = self._calendar.day
        return day(chunk.now_ms) == day(at_ms) and chunk.version == self._version(at_ms)

    def _version(self, at_ms: int) -> int:
        place = bisect_right(self._times, at_ms)
        return self._versions[place - 1] if place else 0


def retained(changes: Streams, partition: int) -> set[int]:
    """Hashes of (customer, cause) of what still stands in profile.changes and came from a record."""
    found = set()
    for record in changes.all_of((CHANGES, partition)):
        when = record.headers.get("when", b"")
        if not when.startswith(b"\x1f") or b"h" in when:  # else time alone was behind it
            found.add(hash((record.key, record.headers.get("src", b""))))
    return found


def is_retained(record: Record, known: Mapping[int, set[int]]) -> bool:
    """Whether the change that a record brought about still stands in profile.changes."""
    src: Any = record.headers["src"]
    marks = known[record.partition]
    if record.headers["kind"] in (b"event", b"erase"):
        return hash((record.key, src)) in marks
    return any(hash((record.key, src + b".%d" % k)) in marks for k in range(PIECES))
