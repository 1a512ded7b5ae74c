"""Requests of persons, from what they brought about: the identifiers that were named, so that it can be asked again.

Changes tell of nodes. An identifier that was taken over, or not seen for too long, has another node since: asked for
again it means that one, which may be another customer's. See resolve.lua.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from services.chassis.errors import Fatal
from services.chassis.redis.client import RedisClient
from services.identity.adapters import TAG
from services.identity.core.homes import parse_home
from services.identity.core.links import Asked, Request
from services.identity.core.reasons import asked_of
from services.identity.core.unlinks import customer_of

ID, EDGE = 17, 12
_TYPES = {"erased": "erase", "split": "unlink", "unlinked": "unlink", "declined": "unlink"}
_TYPES |= {"refused": "refuse", "released": "release"}


class Told(msgspec.Struct, gc=False):
    """One touchpoint. customer, n: what was decided of an event.

    named: the identifiers that a request named (node texts); of an erasure all that it may have named; of a split those
    that it left alone. what: of a request, the kind of its first change; expected: of one that was declined, who was
    thought to have it.
    """

    batch: int
    partition: int
    offset: int
    fields: dict[str, Any]
    log_ms: int
    customer: str = ""  # of a request: of whom its first change tells
    n: int = 0
    is_request: bool = False
    named: tuple[str, ...] = ()
    what: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Renewed:
    """What identifiers had other nodes, one after the other: they were taken over, or not seen for too long."""

    identifiers: Mapping[str, str]  # node → the identifier whose node it was, unless it is that itself
    ended: Mapping[str, int]  # former node → number of the change since which the identifier has another one

    def named(self, nodes: Iterable[str], g: int) -> tuple[str, ...]:
        """The identifiers that are asked for when just before change g somebody means these nodes.

        None of a node that was a former one by then: whoever asks for its identifier means another node.
        """
        return tuple(self.identifiers.get(node, node) for node in nodes if self.ended.get(node, g) >= g)


def told_by(place: tuple[int, int, int], rows: list[Any], renewed: Renewed) -> Told:
    """The request of one place. `rows`: its changes in their order, as older.py asks for them."""
    _, _, _, what, customer, other, nodes, source, event_id, log_ms, occurred, received, reason, g = rows[0]
    fields = {
        "type": _TYPES.get(what, "link"), "source": source, "event_id": event_id, "occurred_at": occurred,
        "received_at": received, "asked": asked_of(reason),
    }  # fmt: skip
    if what == "split":
        nodes = [row[6][0] for row in rows if len(row[6]) == 1]
    expected = other if what == "declined" else ""
    return Told(*place, fields, log_ms, customer, 0, True, renewed.named(nodes, g), what, expected)


def request_of(
    told: Told, codes: Mapping[str, int], links: Callable[[bytes], int] = lambda _: 0
) -> tuple[Request, list[bytes]]:
    """What was asked, and what it named (17 bytes each). `links`: identifier → how many it has in the graph.

    An erasure ends the customer whichever of its identifiers is named; the link between two is named as such. Another
    split leaves the identifier that was unlinked alone; of several that are, it is the one the others had their links
    with. Raises Fatal when nobody can say what was asked.
    """
    named = [id_of(one, codes) for one in told.named]
    if told.fields["type"] == "release":
        return Request.RELEASE, [customer_of(told.customer)]
    if told.fields["type"] in ("link", "refuse") and len(named) == 2:
        return Request.LINK if told.fields["type"] == "link" else Request.REFUSE, named
    if told.what in ("unlinked", "declined") and named:
        return Request.UNLINK, named + ([customer_of(told.expected)] if told.expected else [])
    if told.what == "erased" and named:
        return Request.ERASE, named[:1]
    if told.what == "split" and named:
        return Request.UNLINK, [max(named, key=links) if len(named) > 1 else named[0]]
    raise Fatal(
        f"{told.what} at touchpoints {told.partition}.{told.offset}: none of its nodes says which identifier was named;"
        " the rows of identity_changes_raw that name them are incomplete"
    )


def links_in(client: RedisClient) -> Callable[[bytes], int]:
    """Identifier → how many links the node has that is the identifier's now, in this graph."""

    def count(identifier: bytes) -> int:
        home = parse_home(_raw(client, "i", identifier) or b"-")
        node = home.node or identifier
        if home.node:
            home = parse_home(_raw(client, "i", node) or b"-")
        held = links_of(_raw(client, "c", home.customer)) if home.customer else []
        return sum(1 for pair in held if node in pair)

    return count


def _raw(client: RedisClient, what: str, name: bytes) -> bytes:
    raw = client.get(f"{TAG}:{what}:".encode() + name)
    return raw if isinstance(raw, bytes) else b""


def links_of(raw: bytes) -> list[tuple[bytes, bytes]]:
    """The links of a customer's bytes (see resolve.lua), each as two nodes of 17 bytes.

    What marks a former node is none: it would count for the node twice.
    """
    ids, places = _parts(raw)
    return [(ids[a], ids[b]) for a, b in places if a != b]


def current_nodes(raw: bytes) -> list[bytes]:
    """The nodes of a customer's bytes, without former ones."""
    ids, places = _parts(raw)
    former = {a for a, b in places if a == b}
    return [node for place, node in enumerate(ids) if place not in former]


def _parts(raw: bytes) -> tuple[list[bytes], list[tuple[int, int]]]:
    """A customer's nodes, and its links by their places; a place linked with itself is a former node's."""
    count = struct.unpack_from(">H", raw, 12)[0] if raw else 0
    ids = [raw[14 + i * ID : 14 + (i + 1) * ID] for i in range(count)]
    return ids, [struct.unpack_from(">HH", raw, at) for at in range(14 + count * ID, len(raw), EDGE)]


def id_of(node: str, codes: Mapping[str, int]) -> bytes:
    """The 17 bytes of a node text."""
    kind, _, digest = node.partition(":")
    return bytes([codes[kind]]) + bytes.fromhex(digest)


def asked(request: Request, identifiers: list[bytes], message: bytes) -> Asked:
    """The request as resolve.lua reads it."""
    return Asked(request, 0, message, identifiers)
