"""Every customer's history folded anew by profile's own core from the events in ClickHouse. Bounded memory."""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from services.chassis.clickhouse import Clickhouse
from services.chassis.errors import Fatal
from services.profile.core.config import ProfileConfig
from services.profile.core.contribution import contribution
from services.profile.core.fold import fold
from services.profile.core.state import Part, Thresholds
from services.profile.thresholds import from_json

_COUNT = "SELECT count() AS events FROM events"
_EVENTS = """
SELECT customer_id, node, event_id, type, name, source, toUnixTimestamp64Milli(occurred_at) AS at,
    toUnixTimestamp64Milli(received_at), order_id, amount_minor, currency, traits, flags, properties,
    concat(toString(place_generation), '.', toString(place_partition), '.', toString(place_offset))
FROM events
ORDER BY customer_id
"""
_LATEST = "SELECT thresholds FROM rfm_thresholds FINAL ORDER BY version DESC LIMIT 1"
_FIELDS = (
    "event_id", "type", "name", "source", "occurred_at", "received_at", "order_id", "amount_minor", "currency",
    "traits", "flags", "properties",
)  # fmt: skip
Parts = dict[str, Part]


def events_in(store: Clickhouse) -> int:
    """How many events there are to fold."""
    return int(store.query_rows(_COUNT)[0]["events"])


def thresholds_now(store: Clickhouse) -> Thresholds | None:
    """The published thresholds; None before anybody has bought."""
    rows = store.query_rows(_LATEST)
    return from_json(rows[0]["thresholds"]) if rows else None


def histories(
    store: Clickhouse, config: ProfileConfig, advance: Callable[[int], None]
) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """Customer id → parts of all their events, in order of ids; `advance` is told how many events were folded."""
    for customer_id, rows in groupby(store.stream_rows(_EVENTS), key=itemgetter(0)):
        parts, count = parts_of((row[1:] for row in rows), config)
        advance(count)
        yield customer_id, tuple(parts.values())


def parts_of(rows: Iterator[tuple[Any, ...]], config: ProfileConfig) -> tuple[Parts, int]:
    """Rows of (node, fields as in _FIELDS, place) → one part per node, as profile keeps them; how many rows."""
    parts: Parts = {}
    count = 0
    for node, *values, place in rows:
        touchpoint = dict(zip(_FIELDS, values, strict=True))
        for name in ("traits", "properties"):
            touchpoint[name] = touchpoint[name].encode()
        touchpoint["identifiers"] = ()
        try:
            parts[node] = fold(parts.get(node), contribution(touchpoint, place), config)
        except ValueError as error:
            raise Fatal(f"event at {place} in ClickHouse cannot be folded: {error}") from error
        count += 1
    return parts, count
