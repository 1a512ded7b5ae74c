"""The real graph as production runs it, worker and all, and what it says in the naive graph's words."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from typing import Any

import redis

from services.chassis.avro import Codec
from services.chassis.ids import digest, uuid_text
from services.chassis.records import Entry, Output, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.registry import open_registry
from services.identity.adapters import NAMESPACE, SERVICE, TAG, Encoder, Graph
from services.identity.core.policy import Policy, parse_policy
from services.identity.handler import CHANGES, RESOLVED, IdentityWorker, Writer
from tests.property.identity.naive_graph import Change, Limits, LogItem, NaiveGraph, Touch

KEY = b"a secret of sixteen bytes or more"
PARTITIONS, TARGETS = 3, 4
KINDS = {"user_id": (1, 1, True), "phone": (2, 2, True), "device_id": (3, 0, False), "anonymous_id": (4, 3, False)}
# Kinds that occur only where everything is guarded, and what is guarded there.
GUARDED = {"email": (5, 0, True), "card": (6, 0, False)}
ALL_KINDS = KINDS | GUARDED | {"fax": (7, 0, False)}
GUARDS = {"card": {"may_merge": False}, "anonymous_id": {"ttl_days": 1}}
SOURCES = {"shop": {"verified": ["phone", "email"], "attributes": ["fax"]}}
FLAGS = {"phone": 8, "email": 16}
HOUR_MS = 3_600_000
RENEWED_MOST = 12  # more often no identifier of a story gets another node
CODECS = {name: Codec(name) for name in ("touchpoint", "customer_log", "identity_change", "dead_letter")}


def policy(
    max_size: int = 1_000, window_h: int = 10, bucket_h: int = 2, has_limits: bool = True, said: int = 3
) -> Policy:
    """Small limits, so that they are met often; every guard there is. Without limits customers merge more often.

    said: so many refusals are remembered as told; 0: each is told.
    """
    kinds: dict[str, dict[str, object]] = {
        name: {"code": code, "limit": limit * has_limits, "known": known, **GUARDS.get(name, {})}
        for name, (code, limit, known) in ALL_KINDS.items()
    }
    return parse_policy(
        {
            "kinds": kinds, "max_identifiers_per_customer": max_size, "dedup_window_hours": window_h,
            "dedup_bucket_hours": bucket_h, "takeover_hold_days": 1, "remembered_refusals": said, "sources": SOURCES,
        }
    )  # fmt: skip


def name_customer(first: str, birth: int) -> str:
    """The id of the customer that a node founds, after so many births."""
    name = node_raw(first)
    raw = bytearray(sha1(NAMESPACE + name + b":%d" % birth).digest()[:16])
    raw[6], raw[8] = raw[6] & 0x0F | 0x50, raw[8] & 0x3F | 0x80  # UUID version 5, variant 1
    return uuid_text(bytes(raw))


@cache
def node_raw(node: str) -> bytes:
    """The 17 bytes of a node in the naive graph's words."""
    identifier, _, times = node.partition("~")
    kind, _, value = identifier.partition(":")
    raw = bytes([ALL_KINDS[kind][0]]) + digest(kind, value, KEY)
    for _ in range(int(times or 0)):
        raw = raw[:1] + sha1(NAMESPACE + raw + b":renewed").digest()[:16]
    return raw


def raw_names(identifiers: Iterable[str]) -> dict[str, bytes]:
    """Node → 17 bytes, of these identifiers and the nodes they may have had since."""
    found = [x if times == 0 else f"{x}~{times}" for x in identifiers for times in range(RENEWED_MOST)]
    return {x: node_raw(x) for x in found}


def naive_twin(of: Policy) -> NaiveGraph:
    """The naive graph under the same policy, naming customers alike."""

    per_kind = {name: kind.limit for name, kind in of.kinds.items() if kind.limit}
    known = frozenset(name for name, kind in of.kinds.items() if kind.is_known)
    limits = Limits(
        per_kind, known, frozenset(kind.name for kind in of.kinds.values() if not kind.may_merge),
        {kind.name: kind.ttl_days for kind in of.kinds.values() if kind.ttl_days}, of.hold_days, of.said_most,
        {kind.name: kind.rank for kind in of.kinds.values()}, of.max_size, of.window_ms, of.bucket_ms,
    )  # fmt: skip
    return NaiveGraph(limits, name_customer)


def touchpoint(touch: Touch) -> bytes:
    """Its bytes on the wire."""
    if touch.kind == "poison":
        return b"\0garbage"
    return CODECS["touchpoint"].encode(
        {
            "event_id": touch.message, "source": "shop", "name": "Visited",
            "type": "track" if touch.kind == "event" else touch.kind,
            "identifiers": list(touch.ids), "occurred_at": 1, "received_at": 77 + touch.place[1],
            "flags": flags_of(touch),
            "properties": json.dumps(
                {"pair": touch.is_pair}
                | ({"from": name_customer(touch.founder, 0)} if touch.founder else {})
                | ({"author": touch.author} if touch.author else {})
            ).encode(),
        }
    )  # fmt: skip


def flags_of(touch: Touch) -> int:
    """The flags of its touchpoint."""
    return touch.is_import + 2 * touch.is_public + sum(FLAGS[kind] for kind in touch.verified)


@dataclass
class GraphLab:
    """All partitions of identity in one process, on a real server; `sent` is what was decided, in order."""

    client: "redis.Redis"
    policy: Policy
    log: dict[int, list[Record]] = field(default_factory=lambda: {p: [] for p in range(PARTITIONS)})
    touches: dict[tuple[int, int], Touch] = field(default_factory=dict)
    sent: list[Output] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.client)
        self.graph = Graph(self.ledger, self.policy)
        self.writer = Writer(self.policy, TARGETS, open_registry())
        self.encode = Encoder(self.policy, KEY).encode
        self.workers: dict[int, IdentityWorker] = {}
        self.claims: dict[int, Claim] = {}
        for number in range(PARTITIONS):
            self.claim(number)

    def claim(self, number: int) -> list[Entry]:
        """A new owner; what the former one left unsent."""
        claim = self.ledger.claim(Slot(SERVICE, number, True), "touchpoints", "cluster", "topic", 0)
        worker = IdentityWorker(claim, self.ledger, self.graph, self.writer, self.policy, self.encode, self.read_back)
        self.claims[number], self.workers[number] = claim, worker
        entries = worker.restore(claim.unsent)
        claim.restored(entries)
        claim.acknowledge()
        return entries

    def read_back(self, number: int, first: int, last: int) -> list[Record]:
        return [Record(r.topic, r.partition, r.offset, r.key, r.value, r.headers, r.log_ms) for r in
                self.log[number][first : last + 1]]  # fmt: skip

    def append(self, touch: Touch) -> None:
        """A touchpoint reaches its partition's log."""
        number, offset = touch.place
        assert offset == len(self.log[number])
        self.touches[touch.place] = touch
        self.log[number].append(Record("touchpoints", number, offset, b"k", touchpoint(touch), {}, touch.log_ms))

    def step(self, number: int) -> Entry | None:
        """Work off what the partition's log holds. Raises what the ledger raises."""
        claim = self.claims[number]
        records = self.read_back(number, claim.position, len(self.log[number]) - 1)
        position = len(self.log[number])
        entry = self.workers[number].step(records, dict(claim.seen), position, records[-1].log_ms, 1)
        claim.acknowledge()
        return entry

    def take(self, entry: Entry | None) -> None:
        """Relayed."""
        self.sent += entry.outputs if entry is not None else []

    # -- in the naive graph's words
    def names(self) -> dict[str, str]:
        """Node text → identifier."""
        return {self.writer.node(raw): x for raw, x in self.raw_names().items()}

    def raw_names(self) -> dict[bytes, str]:
        """17 bytes → node, of all identifiers that occur."""
        ids = {x for touch in self.touches.values() for x in touch.ids if touch.kind != "release"}
        return {raw: x for x, raw in raw_names(ids).items()}

    def said(self) -> tuple[list[LogItem], list[Change], list[tuple[int, int]]]:
        """What has been sent: records of customers' logs, changes, places of dead letters; each in order."""
        names, items, changes, dead = self.names(), [], [], []
        for output in self.sent:
            if output.topic == RESOLVED:
                items.append(self._item(output, names))
            elif output.topic == CHANGES:
                changes.append(self._change(output, names))
            else:
                found = Codec("dead_letter").decode(output.value)
                dead.append((found["partition"], found["offset"]))
        return items, changes, dead

    def _item(self, output: Output, names: dict[str, str]) -> LogItem:
        headers = {name: value.decode() for name, value in output.headers}
        generation, *place = map(int, headers["src"].split("."))
        touch = self.touches[place[0], place[1]]
        kind, customer, n = headers["kind"], output.key.decode(), int(headers["n"])
        assert generation == 1
        if kind == "event":
            assert output.value == touchpoint(touch), "forwarded unchanged"
            return LogItem(kind, customer, n, touch, node=names[headers["node"]])
        found = CODECS["customer_log"].decode(output.value)
        assert (found["kind"], found["customer_id"], found["n"]) == (kind, customer, n)
        assert found["accepted_at"] == 77 + touch.place[1]
        pieces = tuple(
            (number_of(headers["src"], p["handoff_id"]), p["to_id"], tuple(names[x] for x in p["nodes"]))
            for p in found["pieces"]
        )
        k = number_of(headers["src"], found["handoff_id"]) if kind == "take" else 0
        return LogItem(kind, customer, n, touch, k, found["from_id"], pieces, tuple(names[x] for x in found["nodes"]))

    def _change(self, output: Output, names: dict[str, str]) -> Change:
        found: dict[str, Any] = CODECS["identity_change"].decode(output.value)
        _, partition, offset, *k = map(int, found["cause"].split("."))
        touch = self.touches[partition, offset]
        assert output.key.decode() == found["customer_id"]
        reason = found["reason"]
        if touch.kind != "event" or "," not in reason:
            guard, _, asked = f": {reason}".rpartition(": ")
            assert asked == f"{'track' if touch.kind == 'event' else touch.kind} of shop"
            reason = guard.removeprefix(": ")
        reason = reason.partition(",")[0]
        if found["kind"] in ("moved", "expired"):
            reason = reason.partition(" ")[0]
        return Change(
            found["kind"], found["g"], found["customer_id"], found["from_id"], k[0] if k else -1,
            tuple(names[x] for x in found["nodes"]), reason, touch,
        )  # fmt: skip

    def stored(self) -> tuple[dict[str, str], dict[str, tuple[int, set[str]]], set[str]]:
        """What the server holds: identifier → customer, customer → (n, identifiers), tombstones."""
        names = self.raw_names()
        home, tombs, customers = {}, set(), {}
        for key in self.client.keys(f"{TAG}:i:*"):
            value, name = self.client.get(key), names[key[len(TAG) + 3 :]]
            if value[:1] == b"-" and len(value) in (1, 19):
                tombs.add(name)
            else:
                home[name] = uuid_text(value[:16])
        for key in self.client.keys(f"{TAG}:c:*"):
            raw = self.client.get(key)
            n, count = int.from_bytes(raw[:4], "big"), int.from_bytes(raw[12:14], "big")
            ids = {names[raw[14 + 17 * i : 31 + 17 * i]] for i in range(count)}
            customers[uuid_text(key[len(TAG) + 3 :])] = (n, ids)
        return home, customers, tombs

    def dump(self) -> dict[bytes, object]:
        """Everything of the graph on the server, apart from the ledgers."""
        found: dict[bytes, object] = {}
        for key in self.client.keys(f"{TAG}:*"):
            if b":ledger:" not in key and b":outbox:" not in key:
                found[key] = {
                    b"string": self.client.get, b"set": self.client.smembers, b"hash": self.client.hgetall
                }[self.client.type(key)](key)  # fmt: skip
        return found


def number_of(place: str, handoff_id: str) -> int:
    """k of `<place>.k`."""
    assert handoff_id.startswith(f"{place}.")
    return int(handoff_id[len(place) + 1 :])
