"""Reads every topic once and shows each record to the hops that count it; what a record must be in ClickHouse."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from cli.verify import tables
from cli.verify.customer_logs import CustomerLogs, GraphChanges
from cli.verify.cut import DEAD, DELIVERIES, FACTS, IDENTITY_CHANGES, RESOLVED, TRIGGERS, Cut
from cli.verify.facts import FactsHop, States
from cli.verify.log import Advance, Log
from cli.verify.model import Check
from cli.verify.tables import Table, TablesHop, crc
from cli.verify.touchpoints import Outcomes
from cli.verify.triggers import TriggersHop
from services.chassis.avro import Codec
from services.chassis.errors import Poison
from services.chassis.records import Record
from services.chassis.registry import Registry

T = TypeVar("T")


class Rows:
    """Digests of the rows that a record must be in a table (see tables.py); none for what archive passes over."""

    def __init__(self, registry: Registry) -> None:
        self._change, self._graph = Codec("profile_change", registry), Codec("identity_change", registry)
        self._trigger, self._delivery = Codec("trigger", registry), Codec("delivery", registry)
        self.of: dict[Table, Callable[[Record], Sequence[int]]] = {
            tables.EVENTS: event_rows,
            tables.CHANGES: lambda record: [self.g(record) + crc(record.key)],
            tables.TAGS: lambda record: self.changes(record)[0],
            tables.STAGES: lambda record: self.changes(record)[1],
            tables.FIRED: lambda record: [crc(self._trigger.decode(record.value)["trigger_id"].encode())],
            tables.ENDED: lambda record: [crc(self._delivery.decode(record.value)["delivery_id"].encode())],
        }

    def g(self, record: Record) -> int:
        """The number of a change of the graph. Raises Poison."""
        return int(self._graph.decode(record.value)["g"])

    def changes(self, record: Record) -> tuple[list[int], list[int]]:
        """Rows of tags and of stages that a record of profile.changes makes; its header says when there are none."""
        flags = record.headers.get("when", b"ts").rpartition(b"\x1f")[2]
        if b"t" not in flags and b"s" not in flags:
            return [], []
        value = self._change.decode(record.value)
        tags = [crc(tag.encode(), record.key) for tag in (*value["tags_added"], *value["tags_removed"])]
        has_moved = value["stage_from"] != value["stage_to"]
        return tags, [crc(value["stage_to"].encode(), record.key)] if has_moved else []


class Topics:
    """One pass over all topics but touchpoints, which only its hop reads."""

    def __init__(self, bootstrap: str, cut: Cut, registry: Registry, advance: Advance) -> None:
        self._bootstrap, self._cut = bootstrap, cut
        self.log = Log(bootstrap, cut, advance)
        self._rows = Rows(registry)
        self._dead_letter = Codec("dead_letter", registry)
        self.dead_counts: dict[str, int] = {}
        self._not_archived: set[tuple[str, int, int]] = set()
        self.deliveries = 0

    def is_not_archived(self, topic: str, partition: int, offset: int) -> bool:
        """Whether archive made a dead letter of that record."""
        return (topic, partition, offset) in self._not_archived

    def read_dead_letters(self, outcomes: Outcomes, facts: FactsHop) -> None:
        """Before everything else: what became a dead letter is expected nowhere."""
        for topic in DEAD:
            # archive has a ledger per topic, each with numbers of its own; notify gives none.
            read = self.log.raw if topic in ("archive.dead", "notify.dead") else self.log.numbered
            for record in (record for partition in self._cut.partitions(topic) for record in read(topic, partition)):
                self.dead_counts[topic] = self.dead_counts.get(topic, 0) + 1
                value = self._dead_letter.decode(record.value)
                if topic == "identity.dead":
                    outcomes.dead_letter(value["partition"], value["offset"])
                elif topic == "profile.dead":
                    facts.dead.add((value["partition"], value["offset"]))
                elif topic == "archive.dead":
                    self._not_archived.add((value["topic"], value["partition"], value["offset"]))

    def read_customers(
        self, outcomes: Outcomes, logs: CustomerLogs, facts: FactsHop, rows: TablesHop, states: States
    ) -> None:
        """Partition by partition: the customers' logs, then what profile made of them."""
        for partition in self._cut.partitions(RESOLVED):
            logs.begin(self._cut.beginning(RESOLVED, partition))
            facts.begin(partition)
            for record in self.log.numbered(RESOLVED, partition):
                place = outcomes.event(record) if record.headers.get("kind") == b"event" else None
                cause = place or outcomes.place_of(record.headers.get("src", b""))
                logs.see(record, cause is not None and outcomes.is_below(cause))
                facts.record(record, place)
                rows.see(tables.EVENTS, record, event_rows(record))
            logs.end()
            for record in self.log.numbered(FACTS, partition):
                facts.fact(record)
                tags, stages = _readable(self._rows.changes, record) or ([], [])
                rows.see(tables.TAGS, record, tags)
                rows.see(tables.STAGES, record, stages)
            facts.end(partial(self._again, RESOLVED, partition), states)

    def read_graph_changes(self, graph: GraphChanges, rows: TablesHop) -> None:
        """identity.changes."""
        for partition in self._cut.partitions(IDENTITY_CHANGES):
            for record in self.log.numbered(IDENTITY_CHANGES, partition):
                g = _readable(self._rows.g, record)
                if g is not None:
                    graph.see(record, g)
                    rows.see(tables.CHANGES, record, [g + crc(record.key)])

    def read_triggers(self, triggers: TriggersHop, rows: TablesHop) -> None:
        """triggers and deliveries."""
        for partition in self._cut.partitions(TRIGGERS):
            for record in self.log.numbered(TRIGGERS, partition):
                trigger_id = _readable(triggers.see, record)
                rows.see(tables.FIRED, record, [crc(trigger_id.encode())] if trigger_id else [])
        for partition in self._cut.partitions(DELIVERIES):
            for record in self.log.numbered(DELIVERIES, partition):
                self.deliveries += 1
                rows.see(tables.ENDED, record, _readable(self._rows.of[tables.ENDED], record) or [])

    def compare(self, hop: TablesHop) -> list[Check]:
        """ClickHouse's tables against what was read."""
        return [hop.compare(table, partial(self._with_rows, table)) for table in tables.TABLES]

    def _with_rows(self, table: Table, partition: int) -> Iterator[tuple[Record, Sequence[int]]]:
        for record in self._again(table.topic, partition):
            yield record, _readable(self._rows.of[table], record) or []

    def _again(self, topic: str, partition: int) -> Iterator[Record]:
        """A partition once more, not counted."""
        return Log(self._bootstrap, self._cut, lambda step: None).numbered(topic, partition)


def event_rows(record: Record) -> list[int]:
    """The row of an event; hand-overs and what identity did not write have none."""
    headers = record.headers
    if headers.get("kind") != b"event":
        return []
    try:
        _, _, offset = headers["src"].split(b".")
        return [int(offset) + 1 + 1_048_573 * int(headers["n"]) + crc(record.key)]
    except (KeyError, ValueError):
        return []


def _readable(read: Callable[[Record], T], record: Record) -> T | None:
    """What `read` makes of the record; None for one that cannot be read, of which the services make a dead letter."""
    try:
        return read(record)
    except Poison:
        return None
