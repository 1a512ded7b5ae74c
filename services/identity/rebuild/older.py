"""Touchpoints that retention has taken, from ClickHouse: events as they were, requests by what they brought about.

events_raw has every field of a touchpoint. An erasure, a split, a link by a person is told by identity_changes_raw:
which identifiers, who asked; the graph as it is then says whose links were taken back.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from services.chassis.clickhouse import Clickhouse
from services.chassis.errors import Fatal
from services.identity.core.decisions import Batch
from services.identity.core.links import Asked, Request
from services.identity.core.reasons import asked_of
from services.identity.core.unlinks import customer_of
from services.identity.rebuild.eras import Era, era_of

ID, EDGE = 17, 12
_FIELDS = (
    "event_id", "type", "name", "source", "order_id", "amount_minor", "currency", "identifiers", "properties", "traits",
    "context", "originals", "flags",
)  # fmt: skip
_BYTES = ("properties", "traits", "context", "originals")
_EVENTS = f"""
SELECT batch, place_partition, place_offset, customer_id, n, toUnixTimestamp64Milli(log_at),
    toUnixTimestamp64Milli(occurred_at), toUnixTimestamp64Milli(received_at), {", ".join(_FIELDS)}
FROM events_raw FINAL WHERE place_offset < arrayElement({{firsts:Array(UInt64)}}, place_partition + 1)
ORDER BY batch, place_offset
"""
_PLACE = "toUInt32(splitByChar('.', cause)[2]) AS p, toUInt64(splitByChar('.', cause)[3]) AS o"
_REQUESTS = f"""
SELECT batch, {_PLACE}, kind, customer_id, from_id, nodes, source, event_id, toUnixTimestamp64Milli(log_at),
    toUnixTimestamp64Milli(occurred_at), toUnixTimestamp64Milli(accepted_at), reason
FROM identity_changes_raw FINAL
WHERE o < arrayElement({{firsts:Array(UInt64)}}, p + 1)
    AND (kind IN ('split', 'unlinked', 'declined', 'erased', 'refused', 'released')
    OR kind IN ('linked', 'conflict', 'blocked') AND length(nodes) = 2 AND match(reason, '(^|: )(linked by|link of) '))
ORDER BY g
"""
_LINKED = f"""
SELECT batch, {_PLACE}, kind, nodes FROM identity_changes_raw FINAL
WHERE o < arrayElement({{firsts:Array(UInt64)}}, p + 1) AND kind IN ('linked', 'blocked') ORDER BY batch, o
"""
_ERAS = """
SELECT batch, nodes, reason, toUnixTimestamp64Milli(occurred_at) AS occurred_at, cause FROM identity_changes_raw FINAL
WHERE kind = 'policy' ORDER BY g
"""
_BATCHES = f"""
SELECT batch, p, min(o), max(o) + 1 FROM (
    SELECT batch, place_partition AS p, place_offset AS o FROM events_raw
    UNION ALL SELECT batch, {_PLACE} FROM identity_changes_raw
) GROUP BY batch, p
"""
_TYPES = {"erased": "erase", "split": "unlink", "unlinked": "unlink", "declined": "unlink"}
_TYPES |= {"refused": "refuse", "released": "release"}


class Told(msgspec.Struct, gc=False):
    """One touchpoint. customer, n: what was decided of an event; nodes: of a request, those that moved or ended.

    what: of a request, the kind of its first change; expected: of one that was declined, who was thought to have it.
    """

    batch: int
    partition: int
    offset: int
    fields: dict[str, Any]
    log_ms: int
    customer: str = ""  # of a request: whom it was asked of
    n: int = 0
    nodes: tuple[tuple[str, ...], ...] = ()
    what: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Older:
    """What lies before `firsts`, the oldest offsets of `touchpoints` by partition."""

    clickhouse: Clickhouse
    another: Clickhouse  # a second connection: two answers are read side by side
    firsts: list[int]

    def batches(self) -> dict[int, tuple[int, Batch]]:
        """Number → (partition, batch). Raises Fatal when rows do not say in which order they were decided."""
        found = {}
        for number, partition, first, upto in self._ask(_BATCHES):
            if number:
                found[number] = partition, Batch(first, upto, number)
            elif first < self.firsts[partition]:
                raise Fatal(
                    f"events_raw holds touchpoints of partition {partition} from offset {first} on that retention has"
                    " taken and whose order was not recorded (column batch is 0): written by an older release"
                )
        return found

    def eras(self) -> dict[int, Era]:
        """Number of the first batch under a policy → that policy."""
        return {int(row["batch"]): era_of(row) for row in self.clickhouse.query_rows(_ERAS)}

    def touchpoints(self) -> Iterator[Told]:
        """In the order of batches and offsets."""
        requests = self._requests()
        for batch, partition, offset, customer, n, log_ms, occurred, received, *rest in self._ask(_EVENTS):
            while requests and (requests[0].batch, requests[0].offset) < (batch, offset):
                yield requests.pop(0)
            fields = dict(zip(_FIELDS, rest, strict=True))
            fields |= {name: fields[name].encode() for name in _BYTES}
            fields |= {"occurred_at": occurred, "received_at": received}
            yield Told(batch, partition, offset, fields, log_ms, customer, n)
        yield from requests

    def linked(self) -> Iterator[tuple[int, int, str, tuple[str, ...]]]:
        """(batch, offset, kind, nodes) of identifiers that were new and joined a customer, or refused, in order."""
        for batch, _, offset, kind, nodes in self.another.stream_rows(_LINKED, {"firsts": self.firsts}):
            yield batch, offset, kind, tuple(nodes)

    def _requests(self) -> list[Told]:
        by_place: dict[tuple[int, int, int], list[Any]] = defaultdict(list)
        for row in self._ask(_REQUESTS):
            by_place[row[:3]].append(row)
        return [
            _request(place, rows) for place, rows in sorted(by_place.items(), key=lambda item: (item[0][0], item[0][2]))
        ]

    def _ask(self, sql: str) -> Iterator[tuple[Any, ...]]:
        return self.clickhouse.stream_rows(sql, {"firsts": self.firsts})


def _request(place: tuple[int, int, int], rows: list[Any]) -> Told:
    _, _, _, what, customer, other, _, source, event_id, log_ms, occurred, received, reason = rows[0]
    fields = {
        "type": _TYPES.get(what, "link"), "source": source, "event_id": event_id, "occurred_at": occurred,
        "received_at": received, "asked": asked_of(reason),
    }  # fmt: skip
    nodes = tuple(tuple(row[6]) for row in rows) if what != "released" else ((customer,),)
    expected = other if what == "declined" else ""
    return Told(*place, fields, log_ms, other if what == "split" else customer, 0, nodes, what, expected)


def request_of(told: Told, codes: Mapping[str, int], customer: bytes | None) -> tuple[Request, list[bytes]]:
    """What was asked, and what it named (17 bytes each). `customer`: the graph's bytes of the one it was asked of.

    An erasure ends the customer whichever of its identifiers is named; the link between two is named as such. Another
    split leaves the identifier that was unlinked alone; of several that are, it is the one the others had their links
    with.
    """
    if told.fields["type"] == "erase":
        return Request.ERASE, [id_of(told.nodes[0][0], codes)]
    if told.fields["type"] == "release":
        return Request.RELEASE, [customer_of(told.customer)]
    if told.fields["type"] in ("link", "refuse"):
        request = Request.LINK if told.fields["type"] == "link" else Request.REFUSE
        return request, [id_of(node, codes) for node in told.nodes[0]]
    if told.what in ("unlinked", "declined"):
        named = [id_of(node, codes) for node in told.nodes[0]]
        return Request.UNLINK, named + ([customer_of(told.expected)] if told.expected else [])
    alone = [id_of(nodes[0], codes) for nodes in told.nodes if len(nodes) == 1]
    if not alone:
        raise Fatal(f"the split at touchpoints {told.partition}.{told.offset} leaves no identifier alone")
    links = _links(customer or b"")
    return Request.UNLINK, [max(alone, key=lambda one: links.get(one, 0))]


def _links(raw: bytes) -> dict[bytes, int]:
    """Identifier → how many links it has, of a customer's bytes (see resolve.lua)."""
    found: dict[bytes, int] = defaultdict(int)
    for pair in links_of(raw):
        for one in pair:
            found[one] += 1
    return found


def links_of(raw: bytes) -> list[tuple[bytes, bytes]]:
    """The links of a customer's bytes, each as two identifiers of 17 bytes."""
    count = struct.unpack_from(">H", raw, 12)[0] if raw else 0
    ids = [raw[14 + i * ID : 14 + (i + 1) * ID] for i in range(count)]
    places = (struct.unpack_from(">HH", raw, at) for at in range(14 + count * ID, len(raw), EDGE))
    return [(ids[a], ids[b]) for a, b in places]


def id_of(node: str, codes: Mapping[str, int]) -> bytes:
    """The 17 bytes of a node text."""
    kind, _, digest = node.partition(":")
    return bytes([codes[kind]]) + bytes.fromhex(digest)


def asked(request: Request, identifiers: list[bytes], message: bytes) -> Asked:
    """The request as resolve.lua reads it."""
    return Asked(request, 0, message, identifiers)
