"""Events as ClickHouse has them → parts, as profile's own core folds them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

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


class Folded(NamedTuple):
    """One part per node; how many rows were read; of how many events profile has made dead letters."""

    parts: Parts
    rows: int
    passed_over: int


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


def parts_of(rows: Iterator[tuple[Any, ...]], config: ProfileConfig) -> Folded:
    """Rows of (node, fields as in FIELDS, place) → parts as profile keeps them.

    Of one customer: a row that was inserted twice and has not yet collapsed counts once.
    """
    parts: Parts = {}
    count = passed_over = 0
    seen = set[str]()
    for node, *values, place in rows:
        count += 1
        if place in seen:
            continue
        seen.add(place)
        event = event_of(values, place)
        if event is None:
            passed_over += 1
        else:
            parts[node] = fold(parts.get(node), event, config)
    return Folded(parts, count, passed_over)


def say_passed_over(count: int, say: Callable[[str], None]) -> None:
    """Tell the person that so many events are missing in what is shown, if any are."""
    if count:
        say(f"{count:,} events are left out: profile has them as dead letters too (touchstream dead)")
