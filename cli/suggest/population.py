"""The customers as ClickHouse holds them now, and who must not be suggested for each other."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.chassis.clickhouse import Clickhouse
from services.identity.core.policy import Policy

if TYPE_CHECKING:
    from cli.suggest.features import Features

# A row to compare from a customer's id, traits and masked identifiers (cli/suggest/features.py).
MakeRow = Callable[[str, dict[str, Any], list[str]], "Features"]

CUSTOMERS = "SELECT customer_id, traits, identifiers, nodes FROM customers ORDER BY customer_id"
COUNT = "SELECT count() AS n FROM customers"
# A refusal names two identifiers and whose they were. It holds for whoever has the identifiers now, so it outlives
# merges, and for the two customers, so it outlives an identifier that is taken out of one of them.
REFUSED = "SELECT DISTINCT nodes, customer_id, from_id FROM identity_changes WHERE kind = 'refused'"

# Everything is held in memory, traits and pairs: from here on somebody has to say that it may be.
MANY_CUSTOMERS = 100_000
BASE_GB, GB_PER_100_000 = 0.4, 1.1


def need(customers: int) -> str:
    """What a run over so many needs at least, as measured up to 100,000 (README)."""
    return f"{BASE_GB + GB_PER_100_000 * customers / 100_000:.1f} GB of memory"


@dataclass(slots=True)
class Population:
    """Rows to compare, and per customer what people are shown and what keeps two of them apart.

    unique: the identifiers of kinds of which a customer has one, by kind.
    """

    rows: "list[Features]" = field(default_factory=list)
    shown: dict[str, list[str]] = field(default_factory=dict)
    unique: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: set[frozenset[str]] = field(default_factory=set)

    def why_not(self, first: str, second: str) -> str:
        """Why these two are never suggested; empty when nothing keeps them apart."""
        if first == second:
            return "they are one customer already"
        if frozenset((first, second)) in self.refused:
            return "somebody refused it"
        one, other = self.unique.get(first, {}), self.unique.get(second, {})
        kinds = [kind for kind in one if kind in other and one[kind] != other[kind]]
        return f"each has a {kinds[0]} of their own, and a customer has only one" if kinds else ""


def load_population(store: Clickhouse, policy: Policy, make_row: MakeRow) -> Iterator[tuple[int, Population]]:
    """(customers read, what is read so far), the last one complete. Raises Retriable, Fatal like every query."""
    refusals = store.query_rows(REFUSED)
    owners = dict.fromkeys((node for row in refusals for node in row["nodes"]), "")
    kinds = {name for name, kind in policy.kinds.items() if kind.limit == 1}
    found = Population()
    yield 0, found
    for number, (customer_id, traits, identifiers, nodes) in enumerate(store.stream_rows(CUSTOMERS), 1):
        found.rows.append(make_row(customer_id, json.loads(traits), list(identifiers)))
        found.shown[customer_id] = list(identifiers)
        found.unique[customer_id] = _unique(nodes, kinds)
        owners |= {node: customer_id for node in nodes if node in owners}
        if number % 10_000 == 0:
            yield number, found
    found.refused = {frozenset((row["customer_id"], row["from_id"])) for row in refusals}
    found.refused |= {frozenset(owners[node] for node in row["nodes"]) for row in refusals}
    yield len(found.rows), found


def _unique(nodes: Iterable[str], kinds: set[str]) -> dict[str, str]:
    own = {node.partition(":")[0]: node for node in nodes}
    return {kind: node for kind, node in own.items() if kind in kinds}
