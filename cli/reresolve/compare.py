"""Two answers to who is whom, held against each other. Pure: nodes are texts, customers any names."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

Homes = Mapping[str, str]  # node → customer
Refusal = tuple[str, str, tuple[str, ...]]  # kind of change, guard, nodes


@dataclass(frozen=True, slots=True)
class Difference:
    """merges: groups of customers that would be one; parts: customer → its nodes, side by side, as they would be apart.

    left_out: nodes that would identify nobody, by customer now; new: nodes that only then identify somebody.
    """

    customers_now: int
    customers_then: int
    merges: list[dict[str, list[str]]] = field(default_factory=list)
    parts: dict[str, list[list[str]]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    def is_nothing(self) -> bool:
        """Whether everybody would be who he is."""
        return not (self.merges or self.parts or self.left_out)


def with_later_nodes(now: Homes, then: Homes, chains: Iterable[Sequence[str]]) -> dict[str, str]:
    """`then`, and whose those nodes would be that identifiers have now and would not have then.

    chains: the nodes of an identifier that has more than one, in order. Each hangs on the one before it, so those that
    would not be there are the last ones, and what happened under them would have happened under the last that would.
    What is erased now is nobody's.
    """
    found = dict(then)
    for chain in chains:
        home = None
        for node in chain:
            home = then.get(node, home)
            if home is not None and node in now:
                found.setdefault(node, home)
    return found


def compare(now: Homes, then: Homes) -> Difference:
    """What would be otherwise. Everything is in the order of the nodes, so the same answers give the same report."""
    together: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # then → now → nodes
    apart: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # now → then → nodes
    left_out = []
    for node in sorted(now):
        home = then.get(node)
        if home is None:
            left_out.append(node)
            continue
        together[home][now[node]].append(node)
        apart[now[node]][home].append(node)
    return Difference(
        len(set(now.values())), len(set(then.values())),
        [dict(group) for group in together.values() if len(group) > 1],
        {customer: list(sides.values()) for customer, sides in apart.items() if len(sides) > 1},
        left_out, sorted(node for node in then if node not in now),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Correction:
    """A link to be made, one to be taken back (is_pair), or an identifier to be taken out."""

    kind: str
    nodes: tuple[str, ...]

    @property
    def is_pair(self) -> bool:
        """Of an unlink: only the link between the two."""
        return self.kind == "unlink" and len(self.nodes) == 2


def corrections(
    now: Homes,
    then: Homes,
    found: Difference,
    links: Callable[[str], Iterable[tuple[str, str]]],
    former: AbstractSet[str] = frozenset(),
) -> tuple[list[Correction], list[Correction]]:
    """(links to be taken back, links to be made) so that those who are there now are as they would be then.

    `links`: customer → its links, as the graph has them. Links that cross what would be apart are cut; what would be
    together and is not joined by those that stay is linked, each piece with the first one. `former`: nodes that nobody
    can ask for, named only where a piece has no other.
    """
    cut: dict[Correction, None] = {}
    held: dict[str, list[tuple[str, str]]] = defaultdict(list)  # customer then → links that stay
    out = set(found.left_out)
    concerned = {customer for group in found.merges for customer in group} | found.parts.keys()
    concerned |= {now[node] for node in out}  # what such a node held together may have to be linked otherwise
    for customer in sorted(concerned):
        for a, b in links(customer):
            if a in out or b in out:
                cut[Correction("unlink", (a if a in out else b,))] = None
            elif a in then and b in then:
                if then[a] == then[b]:
                    held[then[a]].append((a, b))
                else:
                    cut[Correction("unlink", (a, b))] = None
    made: list[Correction] = []
    for nodes in _customers(now, then, concerned):
        pieces = _pieces(nodes, held[then[nodes[0]]])
        names = [next((node for node in piece if node not in former), piece[0]) for piece in pieces]
        first, *others = sorted(names, key=lambda node: node in former)
        made += [Correction("link", (first, other)) for other in others]
    return list(cut), made


def _customers(now: Homes, then: Homes, concerned: set[str]) -> list[list[str]]:
    """Those customers-to-be of whom somebody concerned is a part: their nodes that are known now."""
    wanted = {then[node] for node, customer in now.items() if customer in concerned and node in then}
    found: dict[str, list[str]] = defaultdict(list)
    for node in sorted(now):
        if then.get(node) in wanted:
            found[then[node]].append(node)
    return list(found.values())


def _pieces(nodes: list[str], links: Iterable[tuple[str, str]]) -> list[list[str]]:
    parent = {node: node for node in nodes}

    def root(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in links:
        if a in parent and b in parent:
            parent[root(b)] = root(a)
    found: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        found[root(node)].append(node)
    return list(found.values())
