"""The changes of the graph that concern an identifier or a customer, oldest first, and its identifiers for people."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.chassis.clickhouse import Clickhouse
from services.chassis.ids import node_of
from services.profile.core.contribution import mask

_FIELDS = """
g, kind, customer_id, from_id, nodes, reason, cause, event_id, source, toUnixTimestamp64Milli(occurred_at) AS occurred,
toUnixTimestamp64Milli(accepted_at) AS accepted
"""
_OF_NODES = f"""
SELECT {_FIELDS} FROM identity_changes_raw FINAL WHERE hasAny(nodes, {{nodes:Array(String)}}) AND kind != 'policy'
ORDER BY g
"""
# An identifier that was taken over, or not seen for too long, has another node since: [node, former, identifier].
_RENEWED = """
SELECT DISTINCT nodes[1] AS node, nodes[3] AS identifier FROM identity_changes_raw
WHERE kind IN ('moved', 'expired') AND (node IN {nodes:Array(String)} OR identifier IN {nodes:Array(String)})
"""
# Who parts from a customer is named in the change, who stays is not.
_PARTED = f"SELECT {_FIELDS} FROM identity_changes_raw FINAL WHERE kind = 'split' AND from_id IN {{ids:Array(String)}}"
_OF_CUSTOMER = f"""
SELECT {_FIELDS} FROM identity_changes_raw FINAL WHERE customer_id = {{id:String}} OR from_id = {{id:String}} ORDER BY g
"""
_CHAINS = """
SELECT nodes[3] AS identifier, arrayMap(one -> one.2, arraySort(groupUniqArray((g, nodes[1])))) AS later
FROM identity_changes_raw WHERE kind IN ('moved', 'expired') GROUP BY identifier ORDER BY identifier
"""
_NAMES = "SELECT DISTINCT arrayJoin(identifiers) AS one FROM events_raw WHERE node IN {nodes:Array(String)}"
# Most events name an identifier beside another one, under whose node they are found: one of the same customer.
_BESIDE = """
SELECT DISTINCT node FROM identifier_map WHERE moved IN (0, 1) AND customer_id IN
(
    SELECT customer_id FROM identifier_map WHERE moved IN (0, 1) AND node IN {nodes:Array(String)} AND customer_id != ''
)
"""
_MOVES = frozenset({"linked", "merged", "split", "moved"})
_RENEWALS = frozenset({"moved", "expired"})
# Nodes of one question; a customer has at most some thousand.
CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Moment:
    """One change. what: a kind of identity_changes but policy.

    customer_id and other_id as in identity_changes; stayed: a split of its customer that left the identifier where it
    was. Times are ms since 1970-01-01 UTC.
    """

    g: int
    what: str
    customer_id: str
    other_id: str
    nodes: tuple[str, ...]
    reason: str
    place: str
    event_id: str
    source: str
    occurred_ms: int
    accepted_ms: int
    stayed: bool = False


def of_node(store: Clickhouse, node: str) -> list[Moment]:
    """Everything that happened to an identifier, by the text of its first node, which says which identifier it is.

    Whatever node it has at the time: what happens to a former one concerns who has that.
    """
    nodes = [node, *(one for one, identifier in _renewed(store, [node]).items() if identifier == node)]
    own = [_moment(row) for row in store.query_rows(_OF_NODES, {"nodes": nodes})]
    homes = sorted({one.customer_id for one in own if one.what in _MOVES})
    parted = [_moment(row) for row in store.query_rows(_PARTED, {"ids": homes})] if homes else []
    known = {one.g for one in own}
    others = {one.g: one for one in parted if one.g not in known}
    return list(_walk(node, sorted([*own, *others.values()], key=lambda one: one.g)))


def _walk(node: str, moments: Iterable[Moment]) -> Iterator[Moment]:
    home, current = "", node
    for one in moments:
        if one.what in _RENEWALS and one.nodes[-1] == node:
            current, home = one.nodes[0], one.customer_id if one.what in _MOVES else ""
            yield one
        elif current in one.nodes:
            home = one.customer_id if one.what in _MOVES else "" if one.what == "erased" else home
            yield one
        elif home and one.other_id == home:
            yield replace(one, stayed=True)


def of_customer(store: Clickhouse, customer_id: str) -> list[Moment]:
    """Everything that happened to a customer, by its id."""
    return [_moment(row) for row in store.query_rows(_OF_CUSTOMER, {"id": customer_id})]


def names_of(store: Clickhouse, nodes: Iterable[str], key: bytes, known: Sequence[str] = ()) -> dict[str, str]:
    """Node text → masked identifier, of those that events named; `known`: identifiers kind:value besides."""
    names = {node_of(one, key): mask(one) for one in known}
    return names | {node: mask(one) for node, one in identifiers_of(store, nodes, key).items()}


def identifiers_of(store: Clickhouse, nodes: Iterable[str], key: bytes) -> dict[str, str]:
    """Node text → identifier kind:value in plain text, of these nodes and others, as far as an event named them.

    Nodes that an identifier got later have its name, too. `key` is the deployment's secret, without which nobody can
    tell which node an identifier is.
    """
    wanted = sorted(set(nodes))
    later = _renewed(store, wanted)
    wanted = sorted({*wanted, *later.values()})
    found = _named(store, [*wanted, *later], key)
    missing = [node for node in wanted if node not in found and node not in later]
    for first in range(0, len(missing), CHUNK):
        beside = store.query_rows(_BESIDE, {"nodes": missing[first : first + CHUNK]})
        found |= _named(store, [row["node"] for row in beside], key)
    return found | {node: found[identifier] for node, identifier in later.items() if identifier in found}


def chains(store: Clickhouse) -> list[list[str]]:
    """The nodes of every identifier that has had more than one, in order; asking for it reaches the last one only."""
    return [[row["identifier"], *row["later"]] for row in store.query_rows(_CHAINS)]


def _renewed(store: Clickhouse, nodes: Sequence[str]) -> dict[str, str]:
    """Node that an identifier got later → the identifier's first one; of these nodes and of these identifiers."""
    found: dict[str, str] = {}
    for first in range(0, len(nodes), CHUNK):
        rows = store.query_rows(_RENEWED, {"nodes": nodes[first : first + CHUNK]})
        found |= {row["node"]: row["identifier"] for row in rows}
    return found


def _named(store: Clickhouse, nodes: Sequence[str], key: bytes) -> dict[str, str]:
    found = {}
    for first in range(0, len(nodes), CHUNK):
        for row in store.query_rows(_NAMES, {"nodes": nodes[first : first + CHUNK]}):
            if ":" in row["one"]:
                found[node_of(row["one"], key)] = row["one"]
    return found


def _moment(row: Any) -> Moment:
    return Moment(
        int(row["g"]), row["kind"], row["customer_id"], row["from_id"], tuple(row["nodes"]), row["reason"],
        row["cause"], row["event_id"], row["source"], row["occurred"], row["accepted"],
    )  # fmt: skip
