"""What profile decided before the oldest record of profile.changes, worked off anew from what ClickHouse tells.

A decision depends on its business day and on the thresholds in force, not on the second. Records come in the order in
which the graph decided and are decided at the moment their events were logged; what time alone changed, at the moment
the tables name. Where midnight or new thresholds fell between log and decision, the conclusion may begin at another
record; it then differs from what stands in `profiles` and profile.changes, and the rebuild says so.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.chassis.clickhouse import Clickhouse
from services.chassis.kafka.streams import Streams
from services.chassis.records import Record
from services.profile.codec import CHANGES
from services.profile.core.calendar import Calendar

CHUNK = 2_000
_TICKS = """
SELECT DISTINCT at, p, customer_id FROM (
    SELECT toUnixTimestamp64Milli(changed_at) AS at, log_partition AS p, customer_id, log_offset AS o FROM {table}
    WHERE kind = 'tick' AND o < arrayElement({{firsts:Array(UInt64)}}, p + 1)
) ORDER BY at
"""
_VERSIONS = "SELECT version, toUnixTimestamp64Milli(computed_at) AS at FROM rfm_thresholds FINAL ORDER BY version"


@dataclass(slots=True)
class Chunk:
    """Records, or ticks, to be decided at one moment under one version of thresholds (0: none), by partition."""

    now_ms: int
    version: int
    records: dict[int, list[Record]] = field(default_factory=dict)
    ticks: dict[int, list[str]] = field(default_factory=dict)


class Older:
    """`firsts`: oldest offset of profile.changes by partition; `records`: in the order in which they were decided."""

    def __init__(
        self, clickhouse: Clickhouse, firsts: list[int], calendar: Calendar, records: Iterable[Record]
    ) -> None:
        self._calendar, self.records = calendar, records
        ticks = {
            row
            for table in ("tag_changes_raw", "stage_changes_raw")
            for row in clickhouse.stream_rows(_TICKS.format(table=table), {"firsts": firsts})
        }
        self._ticks: list[tuple[int, int, str]] = sorted(ticks)
        versions = [(int(row["at"]), int(row["version"])) for row in clickhouse.query_rows(_VERSIONS)]
        self._times, self._versions = [at for at, _ in versions], [version for _, version in versions]

    def chunks(self) -> Iterator[Chunk]:
        """Everything, in order."""
        chunk: Chunk | None = None
        size = 0
        for record in self.records:
            if self._ticks and self._ticks[0][0] <= record.log_ms:
                if chunk is not None:
                    yield chunk
                yield from self._due(record.log_ms)
                chunk = None
            if chunk is None or size >= CHUNK or not self._is_same(chunk, record.log_ms):
                if chunk is not None:
                    yield chunk
                chunk, size = Chunk(record.log_ms, self._version(record.log_ms)), 0
            chunk.records.setdefault(record.partition, []).append(record)
            chunk.now_ms = max(chunk.now_ms, record.log_ms)
            size += 1
        if chunk is not None:
            yield chunk
        yield from self._due(1 << 62)

    def _due(self, upto_ms: int) -> Iterator[Chunk]:
        while self._ticks and self._ticks[0][0] <= upto_ms:
            at, partition, customer = self._ticks.pop(0)
            chunk = Chunk(at, self._version(at), ticks={partition: [customer]})
            while self._ticks and self._ticks[0][:2] == (at, partition):
                chunk.ticks[partition].append(self._ticks.pop(0)[2])
            yield chunk

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
    return any(hash((record.key, src + b".%d" % k)) in marks for k in range(64))
