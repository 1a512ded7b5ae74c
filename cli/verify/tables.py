"""Hop 4: ClickHouse against the topics: rows of every archived partition, counted and summed up by ClickHouse itself.

Where the sums differ, and only there, the partition is read again beside ClickHouse's rows and the difference is named.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any
from zlib import crc32

from cli.verify.cut import DELIVERIES, FACTS, IDENTITY_CHANGES, RESOLVED, TRIGGERS, Cut
from cli.verify.model import Check, Names, differences
from services.chassis.clickhouse import Clickhouse
from services.chassis.records import Record

MISSING = (
    "archive has passed them and ClickHouse does not have them: a table was emptied or restored. `touchstream rebuild"
    " --help` says what can be made anew; the records are in the topic until its retention"
)
DOUBLED = (
    "the same record twice: they collapse by themselves at ClickHouse's next merge (`OPTIMIZE TABLE … FINAL` does it"
    " now); why an insert was repeated beyond the deduplication window is in the runbook of TouchstreamRowsDoubled"
)
STRANGE = "rows that no record of the topic explains: written by hand, or by another Touchstream into this database?"
ALTERED = "rows that say something else than their record: changed by hand? The topic is right"
_WRAP = (1 << 64) - 1
# (offset, place within the record) → digest of the row, and how often it is there.
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Table:
    """One table that archive fills from one topic. `digest`: SQL for what a row is summed up to."""

    name: str
    topic: str
    digest: str
    k: str = "0"  # SQL for the number of the row among those of its record


# What goes into a digest is what the record's headers (or a short look into it) say without decoding everything.
EVENTS = Table("events_raw", RESOLVED, "place_offset + 1 + 1048573 * n + toUInt64(CRC32(customer_id))")
CHANGES = Table("identity_changes_raw", IDENTITY_CHANGES, "g + toUInt64(CRC32(customer_id))")
TAGS = Table("tag_changes_raw", FACTS, "toUInt64(CRC32(concat(tag, customer_id)))", "k")
STAGES = Table("stage_changes_raw", FACTS, "toUInt64(CRC32(concat(stage_to, customer_id)))")
FIRED = Table("triggers_raw", TRIGGERS, "toUInt64(CRC32(trigger_id))")
ENDED = Table("deliveries_raw", DELIVERIES, "toUInt64(CRC32(delivery_id))")
TABLES = (EVENTS, CHANGES, TAGS, STAGES, FIRED, ENDED)


@dataclass(slots=True)
class Sum:
    """Rows and their checksum, in a range of offsets [first, end) of records not older than since_ms."""

    first: int
    end: int
    since_ms: int = 0
    rows: int = 0
    total: int = 0

    def add(self, offset: int, k: int, digest: int) -> None:
        """One row."""
        self.rows += 1
        self.total = (self.total + weighted(offset, k, digest)) & _WRAP


def weighted(offset: int, k: int, digest: int) -> int:
    """What a row adds to the checksum; rows that change places change it."""
    return ((offset + 1) * (digest + 1) + k * 7919) & _WRAP


def crc(*parts: bytes) -> int:
    """ClickHouse's CRC32 of a concatenation."""
    return crc32(b"".join(parts))


class TablesHop:
    """One sum per table and partition; `rows` of a record come from whoever reads the topic."""

    def __init__(self, cut: Cut, house: Clickhouse, dead: Callable[[str, int, int], bool]) -> None:
        """dead: whether (topic, partition, offset) became a dead letter of archive."""
        self._house, self._dead = house, dead
        self._sums: dict[tuple[str, int], Sum] = {}
        self.beyond: dict[str, int] = dict.fromkeys((table.name for table in TABLES), 0)
        for table in TABLES:
            for partition, one in cut.of(f"archive.{table.topic}", table.topic).items():
                first = cut.firsts.get((table.topic, partition), 0)
                end = min(one.position, cut.ends[table.topic, partition])
                self._sums[table.name, partition] = Sum(first, end)
                self.beyond[table.name] += max(0, cut.ends[table.topic, partition] - end)
        self.names = {table.name: _names(table) for table in TABLES}

    def see(self, table: Table, record: Record, rows: Sequence[int]) -> None:
        """A record of the table's topic, and the digests of its rows."""
        found = self._sums.get((table.name, record.partition))
        if found is None or record.offset >= found.end:
            return
        found.since_ms = min(record.log_ms, found.since_ms or record.log_ms)
        if rows and self._dead(record.topic, record.partition, record.offset):
            return
        for k, digest in enumerate(rows):
            found.add(record.offset, k, digest)

    def compare(self, table: Table, again: Callable[[int], Iterator[tuple[Record, Sequence[int]]]]) -> Check:
        """Ask ClickHouse; `again`: a partition's records with their digests once more, where something differs."""
        expected = got = 0
        for (name, partition), ours in sorted(self._sums.items()):
            if name != table.name or ours.first >= ours.end or not ours.since_ms:
                continue
            expected += ours.rows
            rows, places, total = self._ask(table, partition, ours)
            got += rows
            if (rows, places, total) != (ours.rows, ours.rows, ours.total):
                mine = (
                    ((record.offset, k), weighted(record.offset, k, digest))
                    for record, digests in again(partition)
                    if ours.first <= record.offset < ours.end
                    and not self._dead(record.topic, record.partition, record.offset)
                    for k, digest in enumerate(digests)
                )
                self._name(table, partition, mine, self._rows(table, partition, ours))
        found = differences(list(self.names[table.name]))
        return Check(
            f"{table.topic} → ClickHouse", f"rows of {table.name}", expected, got, self.beyond[table.name], "", found
        )

    def _where(self, table: Table, partition: int, ours: Sum) -> tuple[str, dict[str, object]]:
        # A log that began anew has offsets of its own; the rows of the former one are older than its first record.
        where = (
            f"FROM {table.name} WHERE log_partition = {{p:UInt32}} AND log_offset >= {{first:UInt64}}"
            " AND log_offset < {end:UInt64} AND log_at >= fromUnixTimestamp64Milli({since:Int64})"
        )
        return where, {"p": partition, "first": ours.first, "end": ours.end, "since": ours.since_ms}

    def _weighted(self, table: Table) -> str:
        return f"(log_offset + 1) * ({table.digest} + 1) + {table.k} * 7919"

    def _ask(self, table: Table, partition: int, ours: Sum) -> tuple[int, int, int]:
        where, bound = self._where(table, partition, ours)
        (row,) = self._house.query_rows(
            f"SELECT count() AS c, uniqExact(log_offset, {table.k}) AS places,"
            f" sum({self._weighted(table)}) AS s {where}",
            bound,
        )
        return int(row["c"]), int(row["places"]), int(row["s"])

    def _rows(self, table: Table, partition: int, ours: Sum) -> Iterator[tuple[Any, ...]]:
        where, bound = self._where(table, partition, ours)
        return self._house.stream_rows(
            f"SELECT log_offset, toUInt64({table.k}) AS row, {self._weighted(table)} AS w, count() {where}"
            " GROUP BY log_offset, row, w ORDER BY log_offset, row, w",
            bound,
        )

    def _name(
        self, table: Table, partition: int, mine: Iterable[tuple[Key, int]], theirs: Iterable[tuple[Any, ...]]
    ) -> None:
        missing, doubled, strange, altered = self.names[table.name]
        for key, what in compared(mine, theirs):
            name = f"{table.topic}/{partition} offset {key[0]}" + (f" row {key[1]}" if key[1] else "")
            {"missing": missing, "doubled": doubled, "strange": strange, "altered": altered}[what].add(name)


def _names(table: Table) -> tuple[Names, Names, Names, Names]:
    return (
        Names(f"rows missing in {table.name}", MISSING),
        Names(f"rows that are in {table.name} more than once", DOUBLED),
        Names(f"rows of {table.name} without a record", STRANGE),
        Names(f"rows of {table.name} that differ from their record", ALTERED),
    )


def compared(mine: Iterable[tuple[Key, int]], theirs: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Key, str]]:
    """(key, missing | doubled | strange | altered) of everything that differs.

    mine: keys ascending with their weights. theirs: (offset, row, weight, how often), ascending.
    """
    rows = _by_key(theirs)
    row = next(rows, None)
    for key, weight in mine:
        while row is not None and row[0] < key:
            yield row[0], "strange"
            row = next(rows, None)
        if row is None or row[0] > key:
            yield key, "missing"
            continue
        found = row[1]
        if set(found) != {weight}:
            yield key, "altered"
        elif found[weight] > 1:
            yield key, "doubled"
        row = next(rows, None)
    while row is not None:
        yield row[0], "strange"
        row = next(rows, None)


def _by_key(theirs: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Key, dict[int, int]]]:
    for key, group in groupby(theirs, key=itemgetter(0, 1)):
        yield (int(key[0]), int(key[1])), {int(weight): int(count) for _, _, weight, count in group}
