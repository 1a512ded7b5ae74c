"""From who is who under one policy to who is who under another: the corrections lead there, whatever the links are."""

from collections.abc import Iterable

from hypothesis import event, given
from hypothesis import strategies as st

from cli.reresolve.compare import Correction, compare, corrections

NODES = [f"device_id:{i}" for i in range(9)]
Links = set[tuple[str, str]]
links = st.sets(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)).filter(lambda pair: pair[0] < pair[1]))


def joined(nodes: Iterable[str], some: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Node → the first of those it is linked with."""
    home = {node: node for node in nodes}
    for a, b in list(some) * len(home):
        home[a] = home[b] = min(home[a], home[b])
    return home


def corrected(held: Links, cut: list[Correction], made: list[Correction]) -> Links:
    """The links after the corrections, one by one."""
    left = set(held)
    for one in cut:
        left = {pair for pair in left if (set(pair) != set(one.nodes) if one.is_pair else one.nodes[0] not in pair)}
    return left | {(one.nodes[0], one.nodes[1]) for one in made}


@given(
    now_links=links, then_links=links, known=st.sets(st.sampled_from(NODES)), unknown=st.sets(st.sampled_from(NODES))
)
def test_the_corrections_lead_to_the_customers_of_the_other_policy(
    now_links: Links, then_links: Links, known: set[str], unknown: set[str]
) -> None:
    nodes = known | {node for pair in now_links for node in pair}
    now = joined(nodes, now_links)
    wanted = set(NODES) - unknown
    then = joined(wanted, [pair for pair in then_links if set(pair) <= wanted])
    found = compare(now, then)

    def links_of(customer: str) -> Links:
        return {pair for pair in now_links if now[pair[0]] == customer}

    cut, made = corrections(now, then, found, links_of)
    after = joined(nodes, corrected(now_links, cut, made))

    def groups(home: dict[str, str]) -> set[frozenset[str]]:
        return {frozenset(x for x in nodes if home[x] == customer) for customer in set(home.values())}

    alone = {node: then.get(node, f"alone {node}") for node in nodes}
    assert groups(after) == groups(alone)
    assert {node for node in nodes if node not in then} == set(found.left_out)
    assert all(one.is_pair or one.nodes[0] in found.left_out for one in cut)
    again = compare({node: after[node] for node in nodes}, then)
    assert (again.merges, again.parts) == ([], {}), "asked again, there is nothing left to do"
    event(f"cut {len(cut)}, made {len(made)}")


def test_the_same_answer_is_no_difference() -> None:
    home = joined(NODES, [(NODES[0], NODES[3])])
    found = compare(home, {node: f"other name of {customer}" for node, customer in home.items()})
    assert found.is_nothing()
    assert (found.customers_now, found.customers_then) == (8, 8)
    assert corrections(home, home, found, lambda customer: [(NODES[0], NODES[3])]) == ([], [])
