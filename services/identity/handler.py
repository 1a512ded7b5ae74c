"""Order of effects of identity: read the batch, ask the graph once, turn its decisions into records."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from services.chassis.avro import Codec
from services.chassis.clock import Clock, now_ms
from services.chassis.errors import Poison
from services.chassis.ids import partition_of, uuid_text
from services.chassis.kafka.dead_letter import dead_letter
from services.chassis.kafka.poison import judge
from services.chassis.logs import get_logger, limited
from services.chassis.records import Decision, Entry, Output, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.registry import Registry
from services.identity import metrics
from services.identity.adapters import SERVICE, Graph
from services.identity.core import decisions as d
from services.identity.core.links import POISON, Asked, UnusableError, ask
from services.identity.core.policy import Policy
from services.identity.core.reasons import guard_text, reason_text

RESOLVED, CHANGES = "touchpoints.resolved", "identity.changes"
Json = dict[str, Any]
_EVENT = ("kind", b"event")
# Customers and nodes whose names as text are kept: who is active comes again. About 15 MB each; a miss costs 1 µs.
NAMES_KEPT = 65_536
# Reads records of the input again: (partition, first offset, last offset) → records, complete, or Retriable or Fatal.
ReadBack = Callable[[int, int, int], list[Record]]


class Writer:
    """Turns decisions into outputs; shared by all partitions of the process."""

    def __init__(self, policy: Policy, partitions: int, registry: Registry) -> None:
        self._partitions, self._registry = partitions, registry
        self._kinds = policy.by_code
        self._customer = lru_cache(maxsize=NAMES_KEPT)(self._customer_of)
        self._node = lru_cache(maxsize=NAMES_KEPT)(lambda raw: self.node(raw).encode())
        self._name = lru_cache(maxsize=NAMES_KEPT)(self.node)
        self._log_codec = Codec("customer_log", registry)
        self._change_codec = Codec("identity_change", registry)
        self.change = self._change_codec.decode
        self.touchpoint = Codec("touchpoint", registry)
        self._limited = limited(get_logger())

    def _customer_of(self, raw: bytes) -> tuple[bytes, int]:
        """16 bytes of the graph → key and partition of the customer's records."""
        key = uuid_text(raw).encode()
        return key, partition_of(key, self._partitions)

    def node(self, raw: bytes) -> str:
        """17 bytes of the graph → node text."""
        return f"{self._kinds[raw[0]]}:{raw[1:].hex()}"

    def outputs(
        self, blob: bytes, records: dict[int, Record], generation: int, now_ms: int,
        decoded: dict[int, Json] | None = None,
    ) -> list[Output]:  # fmt: skip
        """Everything a stored batch of decisions produces, in order. Decides nothing anew.

        `records` by rel; `decoded`: their touchpoints, as far as they have been read before.
        """
        batch, acts = d.parse_batch(blob)
        order = [("batch", batch.header)] if batch.number else []
        touchpoints = {} if decoded is None else decoded
        out: list[Output] = []
        for act in acts:
            record = records[act.rel]
            if isinstance(act, d.Event):
                key, partition = self._customer(act.customer)
                source = b"%d.%d.%d" % (generation, record.partition, record.offset)
                headers = [_EVENT, ("n", b"%d" % act.n), ("node", self._node(act.node)), ("src", source), *order]
                out.append(Output(RESOLVED, partition, key, record.value, headers))
            elif isinstance(act, d.Adopted):
                adopted = self._adopted(act, f"{generation}.{record.partition}.{act.offset}")
                adopted.headers += order
                out.append(adopted)
            elif isinstance(act, d.Poisoned):
                error = record.poison or "cannot be read"
                letter = dead_letter(record, SERVICE, error, self._partitions, self._registry, now_ms)
                letter.headers += order
                out.append(letter)
            else:
                place = f"{generation}.{record.partition}.{record.offset}"
                touchpoint = touchpoints.get(act.rel)
                if touchpoint is None:
                    touchpoint = touchpoints[act.rel] = self.touchpoint.decode(record.value)
                other = self._other(act, touchpoint, place)
                other.headers += order
                out.append(other)
        return out

    def _other(self, act: d.Give | d.Take | d.Erase | d.Change, touchpoint: Json, place: str) -> Output:
        key, partition = self._customer(act.customer)
        if isinstance(act, d.Change):
            metrics.CHANGES.labels(act.what).inc()
            # Who follows the nodes need not look at those that stayed where they were.
            headers = [("moved", b"%d" % act.moved)] if act.moved else []
            return Output(
                CHANGES, partition, key, self._change_codec.encode(self._change(act, touchpoint, place)), headers
            )  # fmt: skip
        kind = {d.Give: "give", d.Take: "take", d.Erase: "erase"}[type(act)]
        value: dict[str, Any] = {
            "kind": kind, "customer_id": key.decode(), "n": act.n, "accepted_at": touchpoint["received_at"],
            "cause": place, "handoff_id": "", "from_id": "", "pieces": [], "nodes": [],
        }  # fmt: skip
        if isinstance(act, d.Give):
            value["cause"] = f"{place}.{act.pieces[0].k}"
            value["pieces"] = [
                {"handoff_id": f"{place}.{p.k}", "to_id": uuid_text(p.to), "nodes": [self.node(n) for n in p.nodes]}
                for p in act.pieces
            ]
        elif isinstance(act, d.Take):
            value["cause"] = value["handoff_id"] = f"{place}.{act.k}"
            value["from_id"] = uuid_text(act.giver)
        else:
            value["nodes"] = [self.node(node) for node in act.nodes]
        headers = [("kind", kind.encode()), ("n", b"%d" % act.n), ("src", place.encode())]
        return Output(RESOLVED, partition, key, self._log_codec.encode(value), headers)

    def _adopted(self, act: d.Adopted, place: str) -> Output:
        metrics.CHANGES.labels("policy").inc()
        metrics.POLICY.set(act.number)
        self._limited.warning("policy.changed", number=act.number, version=act.version, before=act.before)
        value = {
            "g": act.g, "kind": "policy", "customer_id": "", "from_id": act.before, "nodes": [act.version],
            "reason": act.text, "cause": place, "event_id": "", "source": "", "occurred_at": act.since_ms,
            "accepted_at": act.since_ms,
        }  # fmt: skip
        return Output(CHANGES, partition_of(b"", self._partitions), b"", self._change_codec.encode(value), [])

    def _change(self, act: d.Change, touchpoint: Json, place: str) -> dict[str, Any]:
        return {
            "g": act.g, "kind": act.what, "customer_id": uuid_text(act.customer),
            "from_id": uuid_text(act.other) if act.other else "", "nodes": [self._name(node) for node in act.nodes],
            "reason": reason_text(guard_text(act.reason, self._kinds), touchpoint),
            "cause": place if act.k < 0 else f"{place}.{act.k}", "event_id": touchpoint["event_id"],
            "source": touchpoint["source"], "occurred_at": touchpoint["occurred_at"],
            "accepted_at": touchpoint["received_at"],
        }  # fmt: skip


class IdentityWorker:
    """One claimed partition of `touchpoints` (see chassis.kafka.line.Worker); it has no timers."""

    due_limit, is_behind = 0, False

    def __init__(
        self, claim: Claim, ledger: Ledger, graph: Graph, writer: Writer, policy: Policy,
        encode: Callable[[str], bytes], read_back: ReadBack, clock: Clock = now_ms,
    ) -> None:  # fmt: skip
        self._claim, self._ledger, self._graph, self._writer = claim, ledger, graph, writer
        self._policy, self._encode, self._read_back, self._clock = policy, encode, read_back, clock
        self._codec = writer.touchpoint
        self._limited = limited(get_logger())

    def step(
        self, records: list[Record], seen: dict[str, int], position: int, log_ms: int, now_ms: int
    ) -> Entry | None:
        """See Worker. An unreadable touchpoint becomes a dead letter in the same step as the position."""
        if not records:
            if position == self._claim.position:
                return None
            return self._ledger.apply(self._claim, Decision(), seen, position, log_ms)
        start, packed = self._claim.position, []
        by_rel: dict[int, Record] = {}
        decoded: dict[int, Json] = {}
        for record in records:
            rel = record.offset - start
            by_rel[rel] = record
            packed.append(self._ask(record, rel, decoded).pack(rel, record.log_ms))
        self._claim.poisoned = judge(self._claim, records, sum(1 for record in records if record.poison))
        blob = self._graph.resolve(self._claim, b"".join(packed), seen, position, log_ms)
        generation = self._claim.generation
        entry = Entry(self._writer.outputs(blob, by_rel, generation, now_ms, decoded) if blob else [])
        if blob:
            self._claim.append(entry)
        return entry

    def _ask(self, record: Record, rel: int, decoded: dict[int, Json]) -> Asked:
        """What the record asks; its touchpoint is added to `decoded`."""
        try:
            if record.poison:
                raise Poison(record.poison)
            t = decoded[rel] = self._codec.decode(record.value)
            return ask(
                t["type"], t["source"], t["event_id"], t["identifiers"], t["flags"], self._policy, self._encode,
                t["properties"],
            )  # fmt: skip
        except (Poison, UnusableError) as error:
            record.poison = str(error)
            self._limited.warning(
                "touchpoint.poison", partition=record.partition, offset=record.offset, text=str(error)
            )
            return POISON

    def restore(self, blobs: list[bytes]) -> list[Entry]:
        """Decisions are stored, payloads are in the input log: read them again. Raises Retriable or Fatal."""
        entries = []
        for blob in blobs:
            start, acts = d.parse_decisions(blob)
            last = max(act.rel for act in acts)
            records = {r.offset - start: r for r in self._read_back(self._claim.slot.partition, start, start + last)}
            for act in acts:
                if isinstance(act, d.Poisoned):  # never looked into again: it may have ended the process
                    records[act.rel].poison = "could not be read; sent again after a restart"
            entries.append(Entry(self._writer.outputs(blob, records, self._claim.generation, self._clock())))
        return entries
