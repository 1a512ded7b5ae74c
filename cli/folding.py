"""Events as ClickHouse has them → parts, as profile's own core folds them."""

from collections.abc import Iterator, Sequence
from typing import Any

from services.profile.core.config import ProfileConfig
from services.profile.core.contribution import ContributionError, contribution
from services.profile.core.fold import fold
from services.profile.core.state import Event, Part

# Columns of an event as every query here selects them, in this order; moments in ms.
FIELDS = (
    "event_id", "type", "name", "source", "occurred_at", "received_at", "order_id", "amount_minor", "currency",
    "traits", "flags", "properties",
)  # fmt: skip
Parts = dict[str, Part]


def event_of(values: Sequence[Any], place: str, identifiers: Sequence[str] = ()) -> Event | None:
    """The event of these values (see FIELDS); None: profile cannot read it either, it is among its dead letters."""
    touchpoint: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    for name in ("traits", "properties"):
        touchpoint[name] = touchpoint[name].encode()
    touchpoint["identifiers"] = identifiers
    try:
        return contribution(touchpoint, place)
    except ContributionError:
        return None


def parts_of(rows: Iterator[tuple[Any, ...]], config: ProfileConfig) -> tuple[Parts, int]:
    """Rows of (node, fields as in FIELDS, place) → one part per node, as profile keeps them; how many rows.

    Of one customer: a row that was inserted twice and has not yet collapsed counts once.
    """
    parts: Parts = {}
    count, seen = 0, set[str]()
    for node, *values, place in rows:
        count += 1
        event = event_of(values, place) if place not in seen else None
        seen.add(place)
        if event is not None:
            parts[node] = fold(parts.get(node), event, config)
    return parts, count
