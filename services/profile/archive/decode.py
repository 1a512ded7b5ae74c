"""Records of one topic → what is archived, what goes to the dead letters, what is passed over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.chassis.avro import Codec
from services.chassis.errors import Poison
from services.chassis.records import Record
from services.chassis.registry import Registry
from services.profile.archive.core.rows import FEEDS, Feed, Rows, header_fields

# Hand-overs and ends stand in the same log as events; their story is told by identity.changes.
_CUSTOMER_LOG = frozenset({b"give", b"take", b"erase"})


@dataclass(slots=True)
class Decoded:
    """The rows of a batch, and the records that never will be rows, each with the reason."""

    rows: list[Rows]
    dead: list[tuple[Record, str]] = field(default_factory=list)


class Decoder:
    """Decodes batches of one topic. Raises Retriable when a schema registry is needed and silent."""

    def __init__(self, topic: str, registry: Registry | None = None) -> None:
        self.feed: Feed = FEEDS[topic]
        self._codec = Codec(self.feed.record, registry)
        self._value: Callable[[Record], dict[str, Any] | None] = {
            "touchpoints.resolved": self._event,
            "profiles": self._snapshot,
            "profile.changes": self._change,
        }.get(topic, self._plain)

    def decode(self, records: Sequence[Record]) -> Decoded:
        """The rows of these records, in order. One bad record costs itself only."""
        kept: list[Record] = []
        values: list[dict[str, Any]] = []
        dead: list[tuple[Record, str]] = []
        value_of = self._value
        for record in records if self._codec.record != "profile" else _newest(records):
            if record.poison:
                dead.append((record, record.poison))
                continue
            try:
                value = value_of(record)
            except Poison as error:
                dead.append((record, str(error)))
                continue
            if value is not None:
                kept.append(record)
                values.append(value)
        return Decoded([rows for rows in self.feed.rows(kept, values) if len(rows)], dead)

    def _plain(self, record: Record) -> dict[str, Any] | None:
        return self._codec.decode(record.value)

    def _event(self, record: Record) -> dict[str, Any] | None:
        kind = record.headers.get("kind")
        if kind in _CUSTOMER_LOG:
            return None
        if kind != b"event":
            raise Poison(f"header kind: expected event, give, take or erase, got {kind!r}")
        try:
            fields = header_fields(record.headers)
            record.key.decode()
        except (KeyError, ValueError) as error:
            raise Poison(
                f"an event: expected headers n, node and src and a customer id as key, got {error!r}"
            ) from error
        value = self._codec.decode(record.value)
        value.update(fields)
        return value

    def _snapshot(self, record: Record) -> dict[str, Any] | None:
        if record.value:
            return self._codec.decode(record.value)
        try:
            record.key.decode()
        except UnicodeDecodeError as error:
            raise Poison(f"key of a tombstone: expected a customer id, got {record.key!r}") from error
        return {}

    def _change(self, record: Record) -> dict[str, Any] | None:
        """Only what changed a tag or the stage becomes a row; the header says so without decoding (9 µs)."""
        flags = record.headers.get("when", b"ts").rpartition(b"\x1f")[2]
        if b"t" not in flags and b"s" not in flags:
            return None
        value = self._codec.decode(record.value)
        lengths = {len(value[name]) for name in ("tags_added", "tag_reasons", "tag_anchors")}
        if len(lengths) != 1:
            raise Poison("tags_added, tag_reasons and tag_anchors: expected the same length")
        return value


def _newest(records: Sequence[Record]) -> list[Record]:
    """The last snapshot of each customer, and everything suspicious: earlier ones are superseded, as in the topic."""
    last = {record.key: record.offset for record in records}
    return [record for record in records if record.poison or last[record.key] == record.offset]


def open_decoders(registry: Registry) -> dict[str, Decoder]:
    """A decoder per topic that is archived."""
    return {topic: Decoder(topic, registry) for topic in FEEDS}
