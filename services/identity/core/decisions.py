"""What resolve.lua decided, as values: the same blob is answered to the caller and kept in the outbox."""

import struct
from collections.abc import Iterator
from typing import Any

import msgpack
import msgspec

NODE_BYTES = 17
_event = struct.Struct(">I16sI17s")


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Part of a hand-over: k-th of its touchpoint, to a customer, all nodes (empty) or those named (17 bytes each)."""

    k: int
    to: bytes
    nodes: tuple[bytes, ...] = ()


class Event(msgspec.Struct, frozen=True, gc=False):
    """The touchpoint at `rel` is record n of the customer's log; node: its primary identifier, 17 bytes."""

    rel: int
    customer: bytes
    n: int
    node: bytes


class Give(msgspec.Struct, frozen=True, gc=False):
    """The customer hands over its parts: all of them (its log ends) or those of the pieces' nodes."""

    rel: int
    customer: bytes
    n: int
    pieces: tuple[Piece, ...]


class Take(msgspec.Struct, frozen=True, gc=False):
    """The customer must receive hand-over k of this touchpoint from `giver` before anything later counts."""

    rel: int
    customer: bytes
    n: int
    k: int
    giver: bytes


class Erase(msgspec.Struct, frozen=True, gc=False):
    """The customer's log ends; its identifiers stay as tombstones."""

    rel: int
    customer: bytes
    n: int
    nodes: tuple[bytes, ...]


class Change(msgspec.Struct, frozen=True, gc=False):
    """A change of the graph, the g-th ever: linked, merged, split, unlinked, erased, conflict, blocked, refused,
    declined, moved, expired, quarantined, released."""

    rel: int
    what: str
    g: int
    customer: bytes
    other: bytes
    k: int
    nodes: tuple[bytes, ...]
    reason: str
    moved: int = 0  # merged: how many of the nodes, at their end, came from the other customer; 0: not told


class Adopted(msgspec.Struct, frozen=True, gc=False):
    """From this batch on another policy holds: the number-th, with its rules as JSON text; `before`: the version it
    replaced, empty for the first. since_ms, offset: log time and offset of the first touchpoint under it.
    """

    rel: int
    g: int
    number: int
    version: str
    before: str
    since_ms: int
    offset: int
    text: str


class Poisoned(msgspec.Struct, frozen=True, gc=False):
    """The touchpoint at `rel` could not be read."""

    rel: int


Act = Event | Give | Take | Erase | Change | Adopted | Poisoned


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Touchpoints `first` to `upto` - 1 of a partition, the number-th batch in which the graph decided something.

    Numbers count over all partitions: they are the order in which a rebuild must ask the graph again. 0: stored by a
    release that did not count.
    """

    first: int
    upto: int
    number: int

    @property
    def header(self) -> bytes:
        """The header `batch` of everything that the batch produced."""
        return b"%d.%d.%d" % (self.number, self.first, self.upto)


def parse_header(raw: bytes) -> Batch:
    """The inverse of Batch.header. Raises ValueError."""
    number, first, upto = raw.split(b".")
    return Batch(int(first), int(upto), int(number))


def parse_batch(blob: bytes) -> tuple[Batch, list[Act]]:
    """(which batch it was, acts in the order in which they must be produced)."""
    position, events, others, *counted = msgpack.unpackb(blob, raw=True, strict_map_key=False)
    number, upto = counted[:2] or (0, position)
    rolls: list[bytes] = counted[2] if len(counted) > 2 else []
    return Batch(position, upto, number), list(_merge(events, others, [_nodes(roll) for roll in rolls]))


def parse_decisions(blob: bytes) -> tuple[int, list[Act]]:
    """(position of the batch, acts in the order in which they must be produced)."""
    batch, acts = parse_batch(blob)
    return batch.first, acts


def _nodes(roll: bytes) -> tuple[bytes, ...]:
    return tuple(roll[at : at + NODE_BYTES] for at in range(0, len(roll), NODE_BYTES))


def _merge(events: bytes, others: list[list[Any]], rolls: list[tuple[bytes, ...]]) -> Iterator[Act]:
    """An event comes after everything else its own touchpoint caused."""
    at = 0
    for rel, customer, n, node in _event.iter_unpack(events):
        while at < len(others) and others[at][0] <= rel:
            yield _act(others[at], rolls)
            at += 1
        yield Event(rel, customer, n, node)
    for item in others[at:]:
        yield _act(item, rolls)


def _act(item: list[Any], rolls: list[tuple[bytes, ...]]) -> Act:
    rel, what = item[0], item[1]
    if what == b"G":
        return Give(rel, item[2], item[3], (Piece(item[4], item[5]),))
    if what == b"S":
        return Give(rel, item[2], item[3], tuple(Piece(k, to, tuple(nodes)) for k, to, nodes in item[4]))
    if what == b"T":
        return Take(rel, item[2], item[3], item[4], item[5])
    if what == b"X":
        return Erase(rel, item[2], item[3], tuple(item[4]))
    if what == b"C" and item[2] == b"merged" and rolls:
        roll, count, moved = item[7]
        nodes = rolls[roll - 1][:count]
        return Change(rel, "merged", int(item[3]), item[4], item[5], item[6], nodes, item[8].decode(), moved)
    if what == b"C":
        return Change(rel, item[2].decode(), int(item[3]), item[4], item[5], item[6], tuple(item[7]), item[8].decode())
    if what == b"V":
        g, number, version, before, since_ms, offset, text = item[2:]
        return Adopted(rel, g, number, version.decode(), before.decode(), since_ms, offset, text.decode())
    return Poisoned(rel)
