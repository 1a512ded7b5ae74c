"""Records of profile on the wire: what comes in as LogRecord, what goes out as Output."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from services.chassis.avro import Codec
from services.chassis.errors import Poison
from services.chassis.ids import partition_of
from services.chassis.records import Output
from services.chassis.registry import Registry
from services.profile import metrics
from services.profile.core.contribution import ContributionError, contribution
from services.profile.core.customer_log import CustomerState, Fact, Held, LogRecord, Piece
from services.profile.core.state import FLAG_IMPORT, Conclusion, Rfm, View
from services.profile.core.summary import snapshot_fields

CHANGES, PROFILES = "profile.changes", "profiles"


class Reader:
    """Bytes of `touchpoints.resolved` → LogRecord."""

    def __init__(self, registry: Registry) -> None:
        self._touchpoint, self._log = Codec("touchpoint", registry), Codec("customer_log", registry)

    def read(self, customer_id: str, n: int, held: Held) -> LogRecord:
        """The decoded record. Raises Poison when an event cannot be read; a broken hand-over is never skipped."""
        if held.kind == "poison":
            return LogRecord("poison", customer_id, n, held.node, held.place, 0)
        if held.kind == "event":
            return self._event(customer_id, n, held)
        raw = self._log.decode(held.value)
        pieces = tuple(Piece(p["handoff_id"], p["to_id"], tuple(p["nodes"])) for p in raw["pieces"])
        return LogRecord(
            raw["kind"], customer_id, n, "", raw["cause"], raw["accepted_at"], pieces=pieces,
            handoff_id=raw["handoff_id"], from_id=raw["from_id"],
        )  # fmt: skip

    def _event(self, customer_id: str, n: int, held: Held) -> LogRecord:
        touchpoint = self._touchpoint.decode(held.value)
        try:
            event = contribution(touchpoint, held.place)
        except ContributionError as error:
            raise Poison(str(error)) from error
        return LogRecord(
            "event", customer_id, n, held.node, held.place, touchpoint["received_at"], event, touchpoint["properties"]
        )


class ProfileWriter:
    """Facts and states → outputs."""

    def __init__(self, partitions: int, registry: Registry) -> None:
        self._partitions = partitions
        self._change, self._profile = Codec("profile_change", registry), Codec("profile", registry)

    def change(self, customer_id: str, fact: Fact, cause: str, now_ms: int) -> Output:
        """One record of profile.changes. The header `when` lets rules pass over what no rule names, undecoded."""
        record, changes = fact.record, fact.changes
        event = record.event if record is not None else None
        name = event.name if event is not None else ""
        key = customer_id.encode()
        value = self._change.encode(
            {
                "customer_id": customer_id,
                "kind": fact.kind,
                "cause": cause,
                "event_id": event.event_id if event else "",
                "source": event.source if event else "",
                "type": event.type if event else "",
                "name": name,
                "node": record.node if record else "",
                "occurred_at": event.occurred_at if event else now_ms,
                "accepted_at": record.accepted_at if record else 0,
                "changed_at": now_ms,
                "first": fact.is_first,
                "is_import": event is not None and bool(event.flags & FLAG_IMPORT),
                "tags_added": [tag for tag, _, _ in changes.tags_added],
                "tags_removed": list(changes.tags_removed),
                "tag_anchors": [anchor for _, anchor, _ in changes.tags_added],
                "tag_reasons": [reason for _, _, reason in changes.tags_added],
                "stage_from": changes.stage_from,
                "stage_to": changes.stage_to,
                "handoff_id": record.handoff_id if record else "",
                "from_id": record.from_id if record else "",
                "pieces": [
                    {"handoff_id": p.handoff_id, "to_id": p.to_id, "nodes": list(p.nodes)}
                    for p in (record.pieces if record else ())
                ],
                "profile": fact.profile,
                "properties": record.properties if record else b"",
            }
        )
        headers = [("when", f"{name}\x1f{_flags(fact)}".encode()), ("src", cause.encode())]
        return Output(CHANGES, partition_of(key, self._partitions), key, value, headers)

    def snapshot(
        self, customer_id: str, state: CustomerState, seen: View, conclusion: Conclusion, rfm: Rfm, now_ms: int
    ) -> Output:
        """The current profile, for the compacted topic."""
        key = customer_id.encode()
        value = self._profile.encode(
            {
                **snapshot_fields(seen, conclusion, rfm),
                "customer_id": customer_id,
                "rev": state.rev,
                "n": state.n,
                "deleted": False,
                "nodes": sorted(state.parts),
                "updated_at": now_ms,
            }
        )
        return Output(PROFILES, partition_of(key, self._partitions), key, value)

    def ended(self, customer_id: str, state: CustomerState, now_ms: int) -> Output:
        """The last profile of a customer whose log has ended."""
        key = customer_id.encode()
        fields: dict[str, Any] = {
            "customer_id": customer_id, "rev": state.rev, "n": state.n, "deleted": True, "first_seen": 0,
            "last_seen": 0, "stage": "", "stage_since": 0, "tags": b"[]", "traits": b"{}", "identifiers": [],
            "nodes": [], "recency_days": -1, "frequency": 0, "monetary_minor": 0, "currency": "", "r": 0, "f": 0,
            "m": 0, "thresholds_version": 0, "events": 0, "updated_at": now_ms,
        }  # fmt: skip
        return Output(PROFILES, partition_of(key, self._partitions), key, self._profile.encode(fields))


def _flags(fact: Fact) -> str:
    changes = fact.changes
    return (
        ("t" if changes.tags_added or changes.tags_removed else "")
        + ("s" if changes.stage_from != changes.stage_to else "")
        + ("f" if fact.is_first else "")
        + ("i" if fact.record and fact.record.event and fact.record.event.flags & FLAG_IMPORT else "")
        + ("h" if fact.kind in ("gave", "took", "erased") else "")
    )


def count(facts: Iterable[Fact]) -> None:
    """Metrics of one batch; labels are looked up once per batch, not once per event."""
    kinds: Counter[str] = Counter()
    tags: Counter[tuple[str, str]] = Counter()
    stages: Counter[str] = Counter()
    for fact in facts:
        kinds[fact.kind] += 1
        changes = fact.changes
        for tag, _, _ in changes.tags_added:
            tags[tag, "added"] += 1
        for tag in changes.tags_removed:
            tags[tag, "removed"] += 1
        if changes.stage_from != changes.stage_to:
            stages[changes.stage_to] += 1
    for kind, number in kinds.items():
        metrics.FACTS.labels(kind).inc(number)
    for (tag, change), number in tags.items():
        metrics.TAGS.labels(tag, change).inc(number)
    for stage, number in stages.items():
        metrics.STAGES.labels(stage).inc(number)
