"""Every customer's history folded anew by profile's own core from the events in ClickHouse, one customer at a time."""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter

from cli.folding import parts_of
from services.chassis.clickhouse import Clickhouse
from services.profile.core.config import ProfileConfig
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


def events_in(store: Clickhouse) -> int:
    """How many events there are to fold."""
    return int(store.query_rows(_COUNT)[0]["events"])


def thresholds_now(store: Clickhouse) -> Thresholds | None:
    """The published thresholds; None before anybody has bought."""
    rows = store.query_rows(_LATEST)
    return from_json(rows[0]["thresholds"]) if rows else None


def histories(
    store: Clickhouse, config: ProfileConfig, advance: Callable[[int], None], passed_over: Callable[[int], None]
) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """Customer id → parts of all their events, in order of ids.

    `advance` is told how many events were read, `passed_over` how many of them are not in the parts.
    """
    for customer_id, rows in groupby(store.stream_rows(_EVENTS), key=itemgetter(0)):
        folded = parts_of((row[1:] for row in rows), config)
        advance(folded.rows)
        passed_over(folded.passed_over)
        if folded.parts:
            yield customer_id, tuple(folded.parts.values())
