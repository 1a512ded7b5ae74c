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
from services.profile.core.config import ORDERS, ProfileConfig
from services.profile.core.contribution import ContributionError, contribution
from services.profile.core.customer_log import CustomerState, Fact, Held, LogRecord, Piece
from services.profile.core.state import FLAG_IMPORT, Conclusion, Event, Rfm, View
from services.profile.core.summary import snapshot_fields

CHANGES, PROFILES = "profile.changes", "profiles"
_HAND_OVERS = frozenset(("gave", "took", "erased"))
# What stands in a change that no event, or no record at all, is behind.
_NO_EVENT, _TIME = Event("", "", "", "", "", 0), LogRecord("", "", 0, "", "", 0)


class Reader:
    """Bytes of `touchpoints.resolved` → LogRecord."""

    def __init__(self, registry: Registry) -> None:
        self._touchpoint, self._log = Codec("touchpoint", registry), Codec("customer_log", registry)

    def read(self, customer_id: str, n: int, held: Held) -> LogRecord:
        """The decoded record. Raises Poison when an event cannot be read; a broken hand-over is never skipped."""
        if held.kind == "poison":
            return LogRecord("poison", customer_id, n, held.node, held.place, 0)
        if held.kind == "event":
            return self.event(customer_id, n, held.node, held.place, held.value)
        raw = self._log.decode(held.value)
        pieces = tuple(Piece(p["handoff_id"], p["to_id"], tuple(p["nodes"])) for p in raw["pieces"])
        return LogRecord(
            raw["kind"], customer_id, n, "", raw["cause"], raw["accepted_at"], pieces=pieces,
            handoff_id=raw["handoff_id"], from_id=raw["from_id"],
        )  # fmt: skip

    def event(self, customer_id: str, n: int, node: str, place: str, value: bytes | None) -> LogRecord:
        """A touchpoint as a record of the log. Raises Poison when it cannot be read."""
        touchpoint = self._touchpoint.decode(value)
        try:
            event = contribution(touchpoint, place)
        except ContributionError as error:
            raise Poison(str(error)) from error
        return LogRecord(
            "event", customer_id, n, node, place, touchpoint["received_at"], event, touchpoint["properties"]
        )


class ProfileWriter:
    """Facts and states → outputs."""

    def __init__(self, partitions: int, registry: Registry) -> None:
        self._partitions = partitions
        self._change, self._profile = Codec("profile_change", registry), Codec("profile", registry)

    def change(self, fact: Fact, cause: str, now_ms: int) -> Output:
        """One record of profile.changes. The header `when` lets rules pass over what no rule names, undecoded."""
        record, changes, due_ms = fact.record or _TIME, fact.changes, fact.due_ms or now_ms
        event, added = record.event or _NO_EVENT, changes.tags_added
        is_import = fact.is_definition or bool(event.flags & FLAG_IMPORT) or fact.due_ms > 0
        value = self._change.encode(
            {
                "customer_id": fact.customer_id,
                "kind": fact.kind,
                "cause": cause,
                "event_id": event.event_id or fact.event_id,
                "source": event.source,
                "type": event.type,
                "name": event.name,
                "node": record.node,
                "occurred_at": due_ms if event is _NO_EVENT else event.occurred_at,
                "accepted_at": record.accepted_at,
                "changed_at": now_ms,
                "first": fact.is_first,
                "is_import": is_import,
                "tags_added": [tag for tag, _, _ in added] if added else [],
                "tags_removed": list(changes.tags_removed),
                "tag_anchors": [anchor for _, anchor, _ in added] if added else [],
                "tag_reasons": [reason for _, _, reason in added] if added else [],
                "stage_from": changes.stage_from,
                "stage_to": changes.stage_to,
                "handoff_id": record.handoff_id,
                "from_id": record.from_id,
                "pieces": [
                    {"handoff_id": p.handoff_id, "to_id": p.to_id, "nodes": list(p.nodes)} for p in record.pieces
                ]
                if record.pieces
                else [],
                "profile": fact.profile,
                "properties": record.properties,
            }
        )
        flags = (
            ("t" if added or changes.tags_removed else "")
            + ("s" if changes.stage_from != changes.stage_to else "")
            + ("f" if fact.is_first else "")
            + ("i" if is_import else "")
            + ("h" if fact.kind in _HAND_OVERS else "")
        )
        key = fact.customer_id.encode()
        headers = [("when", f"{event.name}\x1f{flags}".encode()), ("src", cause.encode())]
        return Output(CHANGES, partition_of(key, self._partitions), key, value, headers)

    def snapshot(
        self, customer_id: str, state: CustomerState, seen: View, conclusion: Conclusion, rfm: Rfm,
        untils: dict[str, int], now_ms: int,
    ) -> Output:  # fmt: skip
        """The current profile, for the compacted topic."""
        key = customer_id.encode()
        value = self._profile.encode(
            {
                **snapshot_fields(seen, conclusion, rfm, untils),
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


def unrated_in(facts: Iterable[Fact], config: ProfileConfig) -> Counter[str]:
    """Currency → amounts of orders that spend() knows nothing of: neither in the main one nor with a rate."""
    main, rates, kinds = config.currency, config.rates, config.kinds
    found: Counter[str] = Counter()
    for fact in facts:
        event = fact.record.event if fact.record is not None else None
        if event is None or not event.amount_minor or event.currency in (main, ""):
            continue
        if event.currency not in rates and kinds.get(event.name, 0) & ORDERS:
            found[event.currency] += 1
    return found
