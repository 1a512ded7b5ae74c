"""archive's ledgers from ClickHouse and the topics: each goes on behind the last row there is.

What the group was told says how far everything was inserted and every dead letter sent. A batch begun behind it may be
in some of its tables and not in others: what is missing is inserted here, so that nothing is there twice and nothing is
left out; so are dead letters, which wait in the outbox.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from services.chassis.avro import Codec
from services.chassis.clickhouse import Clickhouse
from services.chassis.clock import now_ms
from services.chassis.ids import stable_id
from services.chassis.kafka.dead_letter import dead_letter
from services.chassis.kafka.reader import Place
from services.chassis.kafka.streams import Streams, places
from services.chassis.records import Decision, Output, Record
from services.chassis.redis.claim import number_of
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.rebuild import open_ledger
from services.chassis.redis.slots import Slot
from services.chassis.registry import Registry
from services.profile.archive.core.rows import FEEDS, Rows
from services.profile.archive.decode import open_decoders
from services.profile.archive.metrics import SERVICE

DEAD = "archive.dead"
# Tables whose rows name the record they come from; the others collapse by their own order when a row comes twice.
_WITHOUT_PLACE = frozenset({"identifier_map"})
WINDOW = 2_000


@dataclass(slots=True)
class Rebuilt:
    """ledgers: opened; inserted: rows that a batch begun had not brought to all of its tables; unsent: dead letters."""

    ledgers: int = 0
    inserted: int = 0
    unsent: int = 0


@dataclass(slots=True)
class Ends:
    """Of all archived topics: oldest offset, next offset, committed offset of the archive's group, by place."""

    first: Mapping[Place, int]
    end: Mapping[Place, int]
    worked: Mapping[Place, int]


class Rebuild:
    """One run. `sent(topic, partition, source)`: the last number that input partition wrote there, of its ledger."""

    def __init__(
        self, ledger: Ledger, clickhouse: Clickhouse, bootstrap: str, partitions: int, registry: Registry,
        generation: int, ends: Ends, sent: Callable[[str, int, str], int], advance: Callable[[int], object],
    ) -> None:  # fmt: skip
        self._ledger, self._clickhouse, self._bootstrap = ledger, clickhouse, bootstrap
        self._partitions, self._registry, self._generation = partitions, registry, generation
        self._ends, self._sent_by, self._advance = ends, sent, advance
        self._decoders = open_decoders(registry)
        self._lettered: set[tuple[str, int, int]] = set()  # places of records that have their dead letter
        self.done = Rebuilt()

    def run(self) -> Rebuilt:
        """Open every ledger of the archive."""
        base = self._dead()
        for topic in FEEDS:
            for p in range(self._partitions):
                place = topic, p
                archived = self._archived(place)
                worked = max(self._ends.worked.get(place, 0), self._ends.first[place])
                position = max(worked, min(archived, self._ends.end[place]))
                letters = self._complete(place, worked, position) if position > worked else []
                claim = open_ledger(
                    self._ledger, Slot(f"{SERVICE}.{topic}", p), topic, self._ends.first[place], self._generation
                )
                seen, log_ms = self._seen(place, position)
                claim.base = base.get(place, {})
                self._ledger.apply(claim, Decision(outputs=letters), seen, position, log_ms)
                self.done.ledgers += 1
                self.done.unsent += len(letters)
                self._advance(1)
        return self.done

    def _dead(self) -> dict[Place, dict[str, int]]:
        """The last number of every ledger in archive.dead, by the partition it reads."""
        found: dict[Place, dict[str, int]] = {}
        codec = Codec("dead_letter", self._registry)
        starts = {place: self._ends.first[place] for place in places((DEAD,), self._partitions)}
        with Streams(self._bootstrap, starts) as streams:
            for place in starts:
                for record in streams.all_of(place):
                    number, letter = number_of(record), codec.decode(record.value)
                    self._lettered.add((letter["topic"], letter["partition"], letter["offset"]))
                    if number is not None:
                        base = found.setdefault((letter["topic"], letter["partition"]), {})
                        name = f"{place[0]}/{place[1]}"
                        base[name] = max(number[1], base.get(name, 0))
        return found

    def _archived(self, place: Place) -> int:
        """The offset behind the newest row of any table; 0 without one."""
        found, topic = 0, place[0]
        since_ms = next((record.log_ms for record in self._read(place, self._ends.first[place], 1 << 62)), None)
        for table in FEEDS[topic].tables:
            if since_ms is None or table in _WITHOUT_PLACE:
                continue
            # Rows of another life of the topic have offsets as well; they are older than its first record.
            sql = (
                f"SELECT max(log_offset) + 1 AS upto FROM {table} WHERE log_partition = {{p:UInt32}}"
                " AND log_at >= fromUnixTimestamp64Milli({since:Int64}) HAVING count() > 0"
            )
            for row in self._clickhouse.query_rows(sql, {"p": place[1], "since": since_ms}):
                found = max(found, int(row["upto"]))
        return found

    def _read(self, place: Place, start: int, upto: int) -> Iterator[Record]:
        """Records from `start` on, before offset `upto`."""
        with Streams(self._bootstrap, {place: start}) as streams:
            for record in streams.all_of(place):
                if record.offset >= upto:
                    return
                yield record

    def _complete(self, place: Place, first: int, upto: int) -> list[Output]:
        """Insert what records first … upto-1 left out in some of their tables; the dead letters that were not sent."""
        topic, partition = place
        decoded = self._decoders[topic].decode(once(list(self._read(place, first, upto)), self._seen(place, first)[0]))
        for rows in decoded.rows:
            missing = rows
            if rows.table not in _WITHOUT_PLACE:
                sql = (
                    f"SELECT DISTINCT log_offset AS o FROM {rows.table} WHERE log_partition = {{p:UInt32}}"
                    " AND log_offset >= {a:UInt64} AND log_offset < {b:UInt64}"
                )
                found = self._clickhouse.query_rows(sql, {"p": partition, "a": first, "b": upto})
                missing = _without(rows, {int(row["o"]) for row in found})
            if len(missing):
                token = f"rebuild/{stable_id(topic, str(partition), str(first), str(upto))}/{rows.table}"
                self.done.inserted += self._clickhouse.insert(missing.table, missing.columns, missing.data, token)
        return [
            dead_letter(record, SERVICE, error, self._partitions, self._registry, now_ms())
            for record, error in decoded.dead
            if (topic, partition, record.offset) not in self._lettered
        ]

    def _seen(self, place: Place, position: int) -> tuple[dict[str, int], int]:
        """(last number of every source before `position`, log time of the record before it)."""
        topic, partition = place
        first, window = self._ends.first[place], WINDOW
        sources = {str(partition)} if topic not in ("touchpoints.resolved", "identity.changes") else None
        wanted = sources or {str(p) for p in range(self._partitions)}
        found: dict[str, int] = {}
        log_ms = 0
        while position > first:
            start = max(first, position - window)
            for record in self._read(place, start, position):
                number, log_ms = number_of(record), record.log_ms
                if number is not None:
                    found[number[0]] = max(number[1], found.get(number[0], 0))
            if start == first or wanted <= found.keys():
                break
            window *= 8
        for source in wanted - found.keys():
            if first > 0 and (last := self._sent_by(topic, partition, source)):
                found[source] = last
        return found, log_ms


def once(records: list[Record], seen: dict[str, int]) -> list[Record]:
    """The records without those that were sent again. `seen`: the last number of every source before them."""
    last = dict(seen)
    kept = []
    for record in records:
        number = number_of(record)
        if number is None or number[1] > last.get(number[0], 0):
            kept.append(record)
        if number is not None:
            last[number[0]] = max(number[1], last.get(number[0], 0))
    return kept


def _without(rows: Rows, offsets: set[int]) -> Rows:
    at = rows.columns.index("log_offset")
    keep = [index for index, offset in enumerate(cast(list[int], rows.data[at])) if offset not in offsets]
    return Rows(rows.table, rows.columns, [[column[index] for index in keep] for column in rows.data])
