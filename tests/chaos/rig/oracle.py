"""The verdict on one seed: what senders were told, against everything the system shows. Pure, no product code.

It knows what was sent and what became of every attempt; which of the unknown ones are in, it takes from the tables, and
then demands that everything else agrees with that. Every difference is one line that names what is wrong.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b

from tests.chaos.rig.graph import Graph, graph_of, node_text
from tests.chaos.rig.journal import ACKED, REFUSED, Journal
from tests.chaos.rig.messages import EVENT, GARBAGE, ORDER, REFUND, Message
from tests.chaos.rig.observe import Observation, Row
from tests.chaos.rig.replay import Replay
from tests.chaos.rig.workload import Plan

MOST = 8  # lines of one kind; the rest is counted


class Oracle:
    """differences() is empty when nothing was lost, nothing doubled and everybody says the same."""

    def __init__(self, plan: Plan, journal: Journal, seen: Observation) -> None:
        self._plan, self._journal, self._seen = plan, journal, seen
        self._rows = Counter(row["event_id"] for row in seen.events)

    def differences(self) -> list[str]:
        """Everything that is wrong, by kind; at most MOST lines of a kind."""
        checks = (
            self._events, self._resolved, self._rejected, self._dead, self._channels, self._duplicates, self._logs,
            self._merges, self._partition, self._customers, self._profiles, self._graph, self._triggers,
            self._deliveries,
        )  # fmt: skip
        found = []
        for check in checks:
            lines = list(check())
            found += lines[:MOST]
            if len(lines) > MOST:
                found.append(f"… and {len(lines) - MOST} more of this kind")
        return found

    # -- what is in ---------------------------------------------------------------------------------------------------
    def _events(self) -> Iterator[str]:
        """Acknowledged once, refused never, unknown at most once, nothing that nobody sent."""
        for event, message in self._plan.messages.items():
            count, status = self._rows[event], self._journal.status(event)
            if message.what == EVENT and event in self._model.dropped:
                if count:
                    yield f"events: {event} of an erased customer is there"
            elif message.what != EVENT:
                if count:
                    yield f"events: {message.what} {event} became an event"
            elif count > 1:
                yield f"events: {event} ({status}) is there {count} times: doubled"
            elif status == ACKED and not count:
                yield f"events: {event} {message.identifiers} was acknowledged and is not there: lost"
            elif status == REFUSED:
                yield f"events: {event} was refused, and should not have been"
        for event in self._rows:
            if event not in self._plan.messages:
                yield f"events: {event} was never sent"

    def _is_in(self, message: Message) -> bool:
        if message.what == EVENT:
            # An event that was dropped with its customer's erasure has no row, and still happened before or after.
            return self._journal.status(message.event_id) == ACKED or self._rows[message.event_id] > 0
        if message.what == GARBAGE or not self._journal.attempts[message.event_id]:
            return False
        decided = {change["event_id"] for change in self._seen.records.get("identity.changes", [])}
        return self._journal.status(message.event_id) == ACKED or message.event_id in decided

    @cached_property
    def _model(self) -> Graph:
        free = [message for batch in self._plan.batches for message in batch if self._is_in(message)]
        lines = [[message for message in line if self._is_in(message)] for line in self._plan.lines]
        return graph_of(free, lines)

    @cached_property
    def _counted(self) -> list[Message]:
        """Events that count: in, and not of an erased customer."""
        erased = self._model.erased
        messages = (m for m in self._plan.messages.values() if m.what == EVENT and self._is_in(m))
        return [message for message in messages if message.primary not in erased]

    def _resolved(self) -> Iterator[str]:
        """The log of customers holds exactly the events that the tables hold."""
        found = Counter(row["event_id"] for row in self._records("touchpoints.resolved") if row["kind"] == "event")
        for event in found.keys() | self._rows.keys():
            if found[event] != self._rows[event]:
                yield f"resolved: {event} is {found[event]} times in the log, {self._rows[event]} times in the tables"

    def _rejected(self) -> Iterator[str]:
        """Garbage is kept: once for every answer that refused it, at most once an attempt."""
        kept: Counter[str] = Counter()
        for row in self._records("touchpoints.rejected"):
            kept[str(json.loads(row["raw"]).get("messageId"))] += 1
        for event, message in self._plan.messages.items():
            least, most = self._journal.refused[event], self._journal.attempts[event]
            if message.what == GARBAGE and not least <= kept[event] <= most:
                yield f"rejected: {event} is kept {kept[event]} times, refused {least}, sent {most} times"
            if message.what == GARBAGE and self._journal.acked[event]:
                yield f"rejected: {event} is garbage and was acknowledged"
            if message.what != GARBAGE and kept[event]:
                yield f"rejected: {event} is kept as refused"

    def _dead(self) -> Iterator[str]:
        for topic, rows in self._seen.records.items():
            if topic.endswith(".dead"):
                yield f"dead letters: {len(rows)} in {topic}, the first at {rows[0]['at']}"

    def _channels(self) -> Iterator[str]:
        yield from (f"channels: {line}" for line in self._seen.channels)

    def _duplicates(self) -> Iterator[str]:
        """The product's own check."""
        for row in self._seen.duplicates:
            yield f"duplicates_daily: {row}"

    # -- customers ----------------------------------------------------------------------------------------------------
    @cached_property
    def _by_customer(self) -> dict[str, list[Row]]:
        logs: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self._records("touchpoints.resolved"):
            logs[row["key"]].append(row)
        return {customer: sorted(rows, key=lambda row: int(row["n"])) for customer, rows in logs.items()}

    def _logs(self) -> Iterator[str]:
        """Every customer's log is 1, 2, 3 … without holes or repeats, and ends where it says so."""
        for customer, rows in self._by_customer.items():
            numbers = [int(row["n"]) for row in rows]
            if numbers != list(range(1, len(numbers) + 1)):
                yield f"logs: customer {customer} has the numbers {numbers[:20]}"
            for row in rows[:-1]:
                if _is_end(row):
                    yield f"logs: customer {customer} goes on after its end {row['kind']} {row['n']}"

    def _merges(self) -> Iterator[str]:
        """Every hand-over is announced once and taken once; changes are numbered without holes."""
        changes = self._records("identity.changes")
        for number, count in Counter(change["g"] for change in changes).items():
            if count > 1:
                yield f"merges: change {number} is announced {count} times"
        numbers = sorted({int(change["g"]) for change in changes})
        if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
            yield f"merges: changes {missing[:10]} are missing"
        announced = Counter((c["cause"], c["kind"]) for c in changes if c["kind"] in ("merged", "split"))
        given, taken = Counter[tuple[str, str]](), Counter[str]()
        for row in self._records("touchpoints.resolved"):
            if row["kind"] == "give":
                given.update((p["handoff_id"], "split" if p["nodes"] else "merged") for p in row["pieces"])
            elif row["kind"] == "take":
                taken[row["handoff_id"]] += 1
        for key in given.keys() | announced.keys():
            if not given[key] == announced[key] == taken[key[0]] == 1:
                yield f"merges: {key} given {given[key]}, announced {announced[key]}, taken {taken[key[0]]} times"

    @cached_property
    def _live(self) -> set[str]:
        """Customers whose log has not ended."""
        return {customer for customer, rows in self._by_customer.items() if not _is_end(rows[-1])}

    def _partition(self) -> Iterator[str]:
        """Events are together exactly when their identifiers are linked."""
        component = {identifier: i for i, one in enumerate(self._model.customers()) for identifier in one}
        owners: defaultdict[int, set[str]] = defaultdict(set)
        held: defaultdict[str, set[int]] = defaultdict(set)
        for message in self._counted:
            owner = self._seen.owners.get(message.event_id, "")
            if not owner:
                if self._rows[message.event_id]:
                    yield f"partition: {message.event_id} {message.identifiers} belongs to nobody"
                continue
            owners[component[message.primary]].add(owner)
            held[owner].add(component[message.primary])
        for place, found in owners.items():
            if len(found) > 1:
                yield f"partition: {self._some(place, component)} is one person, the tables have {sorted(found)}"
        for owner, places in held.items():
            if len(places) > 1:
                people = [self._some(place, component) for place in sorted(places)]
                yield f"partition: customer {owner} is {len(places)} people: {people}"

    @staticmethod
    def _some(place: int, component: dict[str, int]) -> list[str]:
        return sorted(identifier for identifier, at in component.items() if at == place)[:4]

    @cached_property
    def _expected(self) -> dict[frozenset[str], Row]:
        """Nodes that have events → what their customer should say of itself. Customers without events are counted."""
        of: dict[str, list[Message]] = {}
        for one in self._model.customers():
            events: list[Message] = []
            of |= dict.fromkeys(one, events)
        for message in self._counted:
            of[message.primary].append(message)
        groups = {id(events): events for events in of.values() if events}.values()
        return {frozenset(node_text(message.primary) for message in events): _summary(events) for events in groups}

    def _customers(self) -> Iterator[str]:
        """Nodes, counts, purchases, money, times and traits of every customer, in ClickHouse."""
        yield from self._compare("customers", {c: _of_table(row) for c, row in self._seen.customers.items()})

    def _profiles(self) -> Iterator[str]:
        """The same in the topic of current profiles."""
        newest: dict[str, Row] = {}
        for row in self._records("profiles"):
            if row["key"] in self._by_customer and row["rev"] > newest.get(row["key"], {"rev": -1})["rev"]:
                newest[row["key"]] = row
        current = {customer: _of_topic(row) for customer, row in newest.items() if not row["deleted"]}
        yield from self._compare("profiles", current)

    def _compare(self, where: str, found: dict[str, tuple[frozenset[str], Row]]) -> Iterator[str]:
        for customer in self._live ^ found.keys():
            yield f"{where}: customer {customer} " + ("is missing" if customer in self._live else "has ended")
        by_nodes = {nodes: (customer, said) for customer, (nodes, said) in found.items() if nodes}
        for nodes, wanted in self._expected.items():
            customer, said = by_nodes.get(nodes, ("", {}))
            if not customer:
                near = [c for c, (other, _) in found.items() if other & nodes]
                yield f"{where}: nobody has exactly the nodes {sorted(nodes)[:4]} ({len(nodes)}); {near} have some"
            elif said != wanted:
                wrong = {name: (said[name], wanted[name]) for name in wanted if said[name] != wanted[name]}
                yield f"{where}: customer {customer} (found, expected): {wrong}"
        for nodes in by_nodes.keys() - self._expected.keys():
            yield f"{where}: customer {by_nodes[nodes][0]} with {sorted(nodes)[:4]} should not exist"

    def _graph(self) -> Iterator[str]:
        """The graph in Redis and the table of identifiers have every customer with all its identifiers."""
        wanted = {frozenset(map(node_text, one)) for one in self._model.customers()}
        for where, owners in (("graph", self._seen.graph), ("identifiers", self._seen.identifiers)):
            found: defaultdict[str, set[str]] = defaultdict(set)
            for node, customer in owners.items():
                found[customer].add(node)
            for customer in self._live ^ found.keys():
                yield f"{where}: customer {customer} " + ("is missing" if customer in self._live else "has ended")
            groups = {frozenset(nodes) for nodes in found.values()}
            for nodes in groups ^ wanted:
                yield f"{where}: {sorted(nodes)[:4]} ({len(nodes)}) " + (
                    "are one customer and should not be" if nodes in groups else "should be one customer"
                )

    # -- triggers -----------------------------------------------------------------------------------------------------
    def _triggers(self) -> Iterator[str]:
        """Exactly what the rules say of the logs, under ids that follow from rule, version and moment."""
        replay = Replay(self._by_customer).run()
        yield from (
            f"triggers: the log of {customer} waits for a hand-over that is not there" for customer in replay.stuck
        )
        wanted = Counter(replay.fired)
        rows = [row for row in self._records("triggers") if row["event_id"] in self._plan.messages]
        found = Counter((row["rule"], row["event_id"]) for row in rows)
        for key in wanted.keys() | found.keys():
            if wanted[key] != found[key]:
                yield f"triggers: {key} fired {found[key]} times, expected {wanted[key]}"
        for row in rows:
            parts = "\0".join((row["rule"], row["rule_version"], row["anchor"]))
            if row["trigger_id"] != blake2b(parts.encode(), digest_size=16).hexdigest():
                yield f"triggers: id {row['trigger_id']} does not follow from {row['rule']} and {row['anchor']}"
        tables = Counter(row["trigger_id"] for row in self._seen.triggers)
        for trigger in tables.keys() ^ {row["trigger_id"] for row in rows}:
            yield f"triggers: {trigger} is in the " + ("tables only" if trigger in tables else "topic only")
        yield from (f"triggers: {trigger} is {n} times in the tables" for trigger, n in tables.items() if n > 1)

    def _deliveries(self) -> Iterator[str]:
        """Every trigger reached its receiver, under one id and with one text, and is told once as delivered."""
        wanted = {row["trigger_id"] for row in self._records("triggers") if row["event_id"] in self._plan.messages}
        arrived: defaultdict[str, set[tuple[str, bytes]]] = defaultdict(set)
        for message in self._seen.received:
            arrived[message.trigger_id].add((message.delivery_id, message.body))
        told = Counter((row["trigger_id"], row["status"]) for row in self._seen.deliveries)
        records = Counter(row["trigger_id"] for row in self._records("deliveries"))
        for trigger in wanted:
            if len(arrived[trigger]) != 1:
                yield f"deliveries: {trigger} arrived as {len(arrived[trigger])} different messages"
            if told[trigger, "delivered"] != 1 or records[trigger] != 1:
                statuses = {status: n for (one, status), n in told.items() if one == trigger}
                yield f"deliveries: {trigger} is told as {statuses} in the tables, {records[trigger]} in the topic"
        for trigger in arrived.keys() - wanted:
            yield f"deliveries: {trigger} arrived and is no trigger"

    def _records(self, topic: str) -> list[Row]:
        return self._seen.records.get(topic, [])


def _is_end(row: Row) -> bool:
    """Whether a customer's log ends with this record."""
    return row["kind"] == "erase" or (row["kind"] == "give" and not row["pieces"][0]["nodes"])


def _summary(events: Sequence[Message]) -> Row:
    """What follows from the events of one customer, in any order."""
    told = [message for message in events if message.city]
    orders = [message for message in events if message.name == ORDER]
    return {
        "events": len(events),
        "frequency": len({message.order_id for message in orders}),
        "monetary_minor": sum(m.amount_minor for m in orders) - sum(m.amount_minor for m in events if m.name == REFUND),
        "first_ms": min((message.occurred_ms for message in events), default=0),
        "last_ms": max((message.occurred_ms for message in events), default=0),
        "city": max(told, key=lambda message: message.occurred_ms).city if told else "",
    }


def _of_table(row: Row) -> tuple[frozenset[str], Row]:
    said = {name: int(row[name]) for name in ("events", "frequency", "monetary_minor", "first_ms", "last_ms")}
    return frozenset(row["nodes"]), said | {"city": _city(row["traits"])}


def _of_topic(row: Row) -> tuple[frozenset[str], Row]:
    said = {name: row[name] for name in ("events", "frequency", "monetary_minor")}
    times = {"first_ms": row["first_seen"], "last_ms": row["last_seen"]}
    return frozenset(row["nodes"]), {**said, **times, "city": _city(row["traits"])}


def _city(traits: str | bytes) -> str:
    return str(json.loads(traits or "{}").get("city", ""))


def unknown(plan: Plan, journal: Journal) -> list[str]:
    """Events that were sent and never answered for."""
    sent: Iterable[str] = (event for event in plan.messages if journal.attempts[event])
    return [event for event in sent if journal.status(event) not in (ACKED, REFUSED)]
