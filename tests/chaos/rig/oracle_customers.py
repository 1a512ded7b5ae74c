"""The oracle on customers: logs without holes, hand-overs once, who is whom, and what everybody says of them. Pure."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.chaos.rig.facts import Facts, is_end
from tests.chaos.rig.graph import node_text
from tests.chaos.rig.observation import Row


def logs(facts: Facts) -> Iterator[str]:
    """Every customer's log is 1, 2, 3 … without holes or repeats, and ends where it says so."""
    for customer, rows in facts.logs.items():
        numbers = [int(row["n"]) for row in rows]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"logs: customer {customer} has the numbers {numbers[:20]}"
        for row in rows[:-1]:
            if is_end(row):
                yield f"logs: customer {customer} goes on after its end {row['kind']} {row['n']}"


def merges(facts: Facts) -> Iterator[str]:
    """Every hand-over is announced once and taken once; changes are numbered without holes."""
    changes = facts.records("identity.changes")
    for number, count in Counter(change["g"] for change in changes).items():
        if count > 1:
            yield f"merges: change {number} is announced {count} times"
    numbers = sorted({int(change["g"]) for change in changes})
    if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
        yield f"merges: changes {missing[:10]} are missing"
    announced = Counter((c["cause"], c["kind"]) for c in changes if c["kind"] in ("merged", "split"))
    given, taken = Counter[tuple[str, str]](), Counter[str]()
    for row in facts.records("touchpoints.resolved"):
        if row["kind"] == "give":
            given.update((p["handoff_id"], "split" if p["nodes"] else "merged") for p in row["pieces"])
        elif row["kind"] == "take":
            taken[row["handoff_id"]] += 1
    for key in given.keys() | announced.keys():
        if not given[key] == announced[key] == taken[key[0]] == 1:
            yield f"merges: {key} given {given[key]}, announced {announced[key]}, taken {taken[key[0]]} times"


def partition(facts: Facts) -> Iterator[str]:
    """Events are together exactly when their identifiers are linked."""
    component = {identifier: i for i, one in enumerate(facts.model.customers()) for identifier in one}
    owners: defaultdict[int, set[str]] = defaultdict(set)
    held: defaultdict[str, set[int]] = defaultdict(set)
    for message in facts.counted:
        owner = facts.seen.owners.get(message.event_id, "")
        if not owner:
            if facts.rows[message.event_id]:
                yield f"partition: {message.event_id} {message.identifiers} belongs to nobody"
            continue
        owners[component[message.primary]].add(owner)
        held[owner].add(component[message.primary])
    for place, found in owners.items():
        if len(found) > 1:
            yield f"partition: {_some(place, component)} is one person, the tables have {sorted(found)}"
    for owner, places in held.items():
        if len(places) > 1:
            people = [_some(place, component) for place in sorted(places)]
            yield f"partition: customer {owner} is {len(places)} people: {people}"


def _some(place: int, component: dict[str, int]) -> list[str]:
    return sorted(identifier for identifier, at in component.items() if at == place)[:4]


def customers(facts: Facts) -> Iterator[str]:
    """Nodes, counts, purchases, money, times and traits of every customer, in ClickHouse."""
    yield from _compare(facts, "customers", {c: _of_table(row) for c, row in facts.seen.customers.items()})


def profiles(facts: Facts) -> Iterator[str]:
    """The same in the topic of current profiles."""
    newest: dict[str, Row] = {}
    for row in facts.records("profiles"):
        if row["key"] in facts.logs and row["rev"] > newest.get(row["key"], {"rev": -1})["rev"]:
            newest[row["key"]] = row
    current = {customer: _of_topic(row) for customer, row in newest.items() if not row["deleted"]}
    yield from _compare(facts, "profiles", current)


def _compare(facts: Facts, where: str, found: dict[str, tuple[frozenset[str], Row]]) -> Iterator[str]:
    for customer in facts.live ^ found.keys():
        yield f"{where}: customer {customer} " + ("is missing" if customer in facts.live else "has ended")
    by_nodes = {nodes: (customer, said) for customer, (nodes, said) in found.items() if nodes}
    for nodes, wanted in facts.expected.items():
        customer, said = by_nodes.get(nodes, ("", {}))
        if not customer:
            near = [c for c, (other, _) in found.items() if other & nodes]
            yield f"{where}: nobody has exactly the nodes {sorted(nodes)[:4]} ({len(nodes)}); {near} have some"
        elif said != wanted:
            wrong = {name: (said[name], wanted[name]) for name in wanted if said[name] != wanted[name]}
            yield f"{where}: customer {customer} (found, expected): {wrong}"
    for nodes in by_nodes.keys() - facts.expected.keys():
        yield f"{where}: customer {by_nodes[nodes][0]} with {sorted(nodes)[:4]} should not exist"


def graph(facts: Facts) -> Iterator[str]:
    """The graph in Redis and the table of identifiers have every customer with all its identifiers."""
    wanted = {frozenset(map(node_text, one)) for one in facts.model.customers()}
    for where, owners in (("graph", facts.seen.graph), ("identifiers", facts.seen.identifiers)):
        found: defaultdict[str, set[str]] = defaultdict(set)
        for node, customer in owners.items():
            found[customer].add(node)
        for customer in facts.live ^ found.keys():
            yield f"{where}: customer {customer} " + ("is missing" if customer in facts.live else "has ended")
        groups = {frozenset(nodes) for nodes in found.values()}
        for nodes in groups ^ wanted:
            yield f"{where}: {sorted(nodes)[:4]} ({len(nodes)}) " + (
                "are one customer and should not be" if nodes in groups else "should be one customer"
            )


def _of_table(row: Row) -> tuple[frozenset[str], Row]:
    said = {name: int(row[name]) for name in ("events", "frequency", "monetary_minor", "first_ms", "last_ms")}
    return frozenset(row["nodes"]), said | {"city": _city(row["traits"])}


def _of_topic(row: Row) -> tuple[frozenset[str], Row]:
    said = {name: row[name] for name in ("events", "frequency", "monetary_minor")}
    times = {"first_ms": row["first_seen"], "last_ms": row["last_seen"]}
    return frozenset(row["nodes"]), {**said, **times, "city": _city(row["traits"])}


def _city(traits: str | bytes) -> str:
    return str(json.loads(traits or "{}").get("city", ""))
