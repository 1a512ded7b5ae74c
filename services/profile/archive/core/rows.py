"""Records of a topic → columns of its tables. Pure: the same records give the same columns.

Column by column, because that is how ClickHouse takes them and because a list comprehension per field costs a third of
a dict or tuple per row. Times stay ms as int (DateTime64(3) on the wire), JSON and texts stay what the decoder gave.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# Moves of a node between customers; others give a node its first customer or change nothing. What is moved gets a node
# of its own, the first one named: the node that it had, and all under it, stays where it was.
_MOVES = frozenset({"merged", "split", "erased"})
_LINKS = frozenset({"linked", "moved"})
_MAX_INT64 = (1 << 63) - 1
_MAX_UINT32 = (1 << 32) - 1
# The rev of a tombstone: above every snapshot, and final, because a customer id is never used again.
FINAL_REV = _MAX_INT64


class Arrived(Protocol):
    """What is read of a record besides its decoded value."""

    partition: int
    offset: int
    key: bytes
    headers: dict[str, bytes]
    log_ms: int


Value = Mapping[str, Any]
Column = list[Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table as parallel columns; `columns` names them, in order."""

    table: str
    columns: tuple[str, ...]
    data: list[Column]

    def __len__(self) -> int:
        return len(self.data[0]) if self.data else 0


def header_fields(headers: Mapping[str, bytes]) -> dict[str, Any]:
    """The columns of events_raw that identity's headers n, node, src and batch hold.

    Raises KeyError when one of the first three is missing, ValueError when one does not read as it should.
    """
    generation_text, partition_text, offset_text = headers["src"].split(b".")
    n, generation = int(headers["n"]), int(generation_text)
    partition, offset = int(partition_text), int(offset_text)
    if not (
        0 <= n <= _MAX_INT64
        and 0 <= generation <= _MAX_INT64
        and 0 <= partition <= _MAX_UINT32
        and 0 <= offset <= _MAX_INT64
    ):
        raise ValueError(f"n={n}, src={headers['src'].decode()}: a number is out of range")
    return {
        "n": n,
        "node": headers["node"].decode(),
        "place_generation": generation,
        "place_partition": partition,
        "place_offset": offset,
        "batch": batch_of(headers),
    }


def batch_of(headers: Mapping[str, bytes]) -> int:
    """The number of identity's batch behind a record; 0 when its header does not say."""
    number = headers.get("batch", b"").partition(b".")[0]
    return int(number) if number.isdigit() and len(number) < 19 else 0


def event_rows(records: Sequence[Arrived], values: Sequence[Value]) -> list[Rows]:
    """touchpoints.resolved (kind event), values with header_fields in them → events_raw."""
    fields = (
        "event_id", "type", "name", "occurred_at", "received_at", "source", "order_id", "amount_minor", "currency",
        "identifiers", "properties", "traits", "context", "originals", "flags", "n", "node", "place_generation",
        "place_partition", "place_offset", "batch",
    )  # fmt: skip
    own = {"customer_id": [record.key for record in records]}
    return [_rows("events_raw", own, fields, records, values)]


def _moved(headers: Mapping[str, bytes], nodes: list[str]) -> list[str]:
    """The nodes that a merge took to another customer: the last so many of its list, all when its header is not there.

    Those that stayed are where the map has them: a customer that takes a thousand others would else be written a
    thousand times.
    """
    count = headers.get("moved", b"")
    return nodes[-int(count) :] if count.isdigit() and len(count) < 10 and int(count) > 0 else nodes


def identity_rows(records: Sequence[Arrived], values: Sequence[Value]) -> list[Rows]:
    """identity.changes → identity_changes_raw and identifier_map (a row per node of a link, merge, split, erasure)."""
    fields = (
        "g", "kind", "customer_id", "from_id", "nodes", "reason", "cause", "event_id", "source", "occurred_at",
        "accepted_at",
    )  # fmt: skip
    moved: Column = []
    node: Column = []
    customer: Column = []
    g: Column = []
    for record, value in zip(records, values, strict=True):
        kind = value["kind"]
        if kind not in _LINKS and kind not in _MOVES:
            continue
        nodes = _moved(record.headers, value["nodes"]) if kind == "merged" else value["nodes"]
        if kind == "moved":
            nodes = nodes[:1]
        node += nodes
        moved += [int(kind in _MOVES)] * len(nodes)
        customer += ["" if kind == "erased" else value["customer_id"]] * len(nodes)
        g += [value["g"]] * len(nodes)
    return [
        _rows(
            "identity_changes_raw", {"batch": [batch_of(record.headers) for record in records]}, fields, records, values
        ),
        Rows("identifier_map", ("moved", "node", "customer_id", "g"), [moved, node, customer, g]),
    ]


def customer_rows(records: Sequence[Arrived], values: Sequence[Value]) -> list[Rows]:
    """profiles → customers_raw. An empty value (tombstone) ends the customer for ever."""
    fields = (
        "customer_id", "n", "identifiers", "nodes", "traits", "first_seen", "last_seen", "stage", "stage_since",
        "recency_days", "frequency", "monetary_minor", "currency", "r", "f", "m", "thresholds_version", "events",
        "updated_at",
    )  # fmt: skip
    full = [value or _ended(record) for record, value in zip(records, values, strict=True)]
    own: dict[str, Column] = {
        "rev": [value["rev"] for value in full],
        "deleted": [int(value["deleted"]) for value in full],
        "tags_json": [value["tags"] for value in full],
    }
    return [_rows("customers_raw", own, fields, records, full)]


def _ended(record: Arrived) -> Value:
    zeros = dict.fromkeys(
        ("n", "first_seen", "last_seen", "stage_since", "frequency", "monetary_minor", "r", "f", "m",
         "thresholds_version", "events"), 0,
    )  # fmt: skip
    return {
        **zeros, "customer_id": record.key.decode(), "rev": FINAL_REV, "deleted": True, "identifiers": [], "nodes": [],
        "traits": b"{}", "tags": b"[]", "stage": "", "recency_days": -1, "currency": "", "updated_at": record.log_ms,
    }  # fmt: skip


def change_rows(records: Sequence[Arrived], values: Sequence[Value]) -> list[Rows]:
    """profile.changes → tag_changes_raw (a row per tag) and stage_changes_raw; most records changed neither."""
    shared = ("customer_id", "changed_at", "occurred_at", "kind", "name", "event_id", "source", "cause")
    tags: list[tuple[Arrived, Value, str, str, str, str, int]] = []
    stages: list[tuple[Arrived, Value]] = []
    for record, value in zip(records, values, strict=True):
        added, removed = value["tags_added"], value["tags_removed"]
        if added or removed:
            details = zip(added, value["tag_reasons"], value["tag_anchors"], strict=True)
            tags += [
                (record, value, tag, "added", reason, anchor, k) for k, (tag, reason, anchor) in enumerate(details)
            ]
            tags += [(record, value, tag, "removed", "", "", len(added) + k) for k, tag in enumerate(removed)]
        if value["stage_from"] != value["stage_to"]:
            stages.append((record, value))
    own: dict[str, Column] = {
        "tag": [row[2] for row in tags],
        "change": [row[3] for row in tags],
        "reason": [row[4] for row in tags],
        "anchor": [row[5] for row in tags],
        "k": [row[6] for row in tags],
    }
    return [
        _rows("tag_changes_raw", own, shared, [row[0] for row in tags], [row[1] for row in tags]),
        _rows(
            "stage_changes_raw", {}, (*shared, "stage_from", "stage_to"), [r for r, _ in stages], [v for _, v in stages]
        ),
    ]


def trigger_rows(records: Sequence[Arrived], values: Sequence[Value]) -> list[Rows]:
    """triggers → triggers_raw."""
    fields = (
        "trigger_id", "rule", "rule_version", "customer_id", "anchor", "cause", "event_id", "name", "fired_at",
        "accepted_at", "actions", "profile", "properties",
    )  # fmt: skip
    return [_rows("triggers_raw", {}, fields, records, values)]


def delivery_rows(records: Sequence[Arrived], values: Sequence[Value]) -> list[Rows]:
    """deliveries → deliveries_raw."""
    fields = (
        "delivery_id", "trigger_id", "customer_id", "rule", "channel", "destination", "status", "attempts", "error",
        "provider_id", "fired_at", "accepted_at", "finished_at",
    )  # fmt: skip
    return [_rows("deliveries_raw", {}, fields, records, values)]


def _rows(
    table: str, own: dict[str, Column], fields: Sequence[str], records: Sequence[Arrived], values: Sequence[Value]
) -> Rows:
    columns = {**own, **{field: [value[field] for value in values] for field in fields}}
    columns["log_partition"] = [record.partition for record in records]
    columns["log_offset"] = [record.offset for record in records]
    columns["log_at"] = [record.log_ms for record in records]
    return Rows(table, tuple(columns), list(columns.values()))


@dataclass(frozen=True, slots=True)
class Feed:
    """How one topic is archived: the Avro record of its values, the tables it fills, and by which function."""

    topic: str
    record: str
    tables: tuple[str, ...]
    rows: Callable[[Sequence[Arrived], Sequence[Value]], list[Rows]]


FEEDS = {
    feed.topic: feed
    for feed in (
        Feed("touchpoints.resolved", "touchpoint", ("events_raw",), event_rows),
        Feed("identity.changes", "identity_change", ("identity_changes_raw", "identifier_map"), identity_rows),
        Feed("profile.changes", "profile_change", ("tag_changes_raw", "stage_changes_raw"), change_rows),
        Feed("profiles", "profile", ("customers_raw",), customer_rows),
        Feed("triggers", "trigger", ("triggers_raw",), trigger_rows),
        Feed("deliveries", "delivery", ("deliveries_raw",), delivery_rows),
    )
}
