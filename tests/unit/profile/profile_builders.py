"""Events and customers for profile's tests: a test says only what matters to it. Days are counted back from TODAY."""

from pathlib import Path

import msgspec
import yaml

from services.profile.core.config import ProfileConfig
from services.profile.core.configuration import parse_config
from services.profile.core.fold import fold
from services.profile.core.judgement import judgement
from services.profile.core.rfm import score
from services.profile.core.state import Changes, Conclusion, Event, Part, Rfm, Thresholds, View
from services.profile.core.tagging.definitions import parse_catalogue
from services.profile.core.tags import conclude
from services.profile.core.view import view

SHIPPED = yaml.safe_load((Path(__file__).parents[3] / "deploy" / "config" / "tags.yaml").read_text(encoding="utf-8"))
CONFIG = parse_config(None, SHIPPED)
# Once held they stay for a while where they would not begin: what holds depends on what held.
STICKY = {definition.name for definition in CONFIG.catalogue.tags if definition.ends is not None}
TODAY = 20_600
NOON_MS = 12 * 3_600_000
NOW_MS = CONFIG.calendar.start_ms(TODAY) + NOON_MS
# Cuts of an imagined population. Percentile k: spend of k x 1.00 up to 89, then 100.00 and more; an only order of
# k x 0.50; R+F+M rises by one every ten per cent, so that 12 and more is the top tenth.
CUTS = Thresholds(
    7,
    100,
    (10, 40, 100, 200),
    (1, 2, 3, 4),
    (1_000, 2_000, 5_000, 9_000),
    12,
    10_000,
    (*range(100, 9_000, 100), *[10_000] * 10),
    tuple(range(50, 5_000, 50)),
    tuple(3 + k // 10 for k in range(1, 90)) + (11,) * 10,
)

decode_part = msgspec.msgpack.Decoder(Part).decode
decode_conclusion = msgspec.msgpack.Decoder(Conclusion).decode
_numbers = iter(range(1_000_000_000))


def config_with(**sections: object) -> ProfileConfig:
    """The shipped configuration with these sections of tags.yaml instead; without tags and segments of its own."""
    data = SHIPPED | {"tags": {}, "segments": {}} | sections
    return msgspec.structs.replace(CONFIG, catalogue=parse_catalogue(data, CONFIG.calendar))


def at(days_ago: int, ms: int = NOON_MS) -> int:
    """ms of a moment of the business day `days_ago` days before TODAY."""
    return CONFIG.calendar.start_ms(TODAY - days_ago) + ms


def event(name: str = "Page Viewed", days_ago: int = 0, **fields: object) -> Event:
    """A track event; every one has its own event id and place unless said otherwise."""
    number = next(_numbers)
    values: dict[str, object] = {
        "event_id": f"event-{number}",
        "type": "track",
        "name": name,
        "source": "shop",
        "place": f"1.0.{number}",
        "occurred_at": at(days_ago),
    }
    return Event(**(values | fields))


def purchase(days_ago: int = 0, amount_minor: int = 1_000, **fields: object) -> Event:
    """An Order Completed in CNY; without `order_id` a purchase of its own."""
    return event("Order Completed", days_ago, **({"amount_minor": amount_minor, "currency": "CNY"} | fields))


def refund(days_ago: int = 0, amount_minor: int = 100, **fields: object) -> Event:
    """An Order Refunded in CNY; without `order_id` of no order."""
    return event("Order Refunded", days_ago, **({"amount_minor": amount_minor, "currency": "CNY"} | fields))


def cancelled(order_id: str, days_ago: int = 0, **fields: object) -> Event:
    """An Order Cancelled."""
    return event("Order Cancelled", days_ago, order_id=order_id, **fields)


def part_of(*events: Event, config: ProfileConfig = CONFIG, part: Part | None = None) -> Part:
    """The events folded into one part."""
    for one in events:
        part = fold(part, one, config)
    assert part is not None
    return part


def seen(*events: Event, now_ms: int = NOW_MS, config: ProfileConfig = CONFIG) -> View:
    """The view of one part with these events."""
    return view([part_of(*events, config=config)], now_ms, config)


def concluded(
    *events: Event,
    now_ms: int = NOW_MS,
    thresholds: Thresholds | None = CUTS,
    before: tuple[Conclusion, ...] = (),
    cause: str = "1.0.cause",
    config: ProfileConfig = CONFIG,
) -> tuple[Conclusion, Changes]:
    """What follows from these events."""
    judged = judgement((part_of(*events, config=config),), now_ms, thresholds, config)
    return conclude(judged.facts, before, cause, now_ms, config)


def tags_of(*events: Event, now_ms: int = NOW_MS, thresholds: Thresholds | None = CUTS) -> set[str]:
    """Names of the tags that follow from these events."""
    return set(concluded(*events, now_ms=now_ms, thresholds=thresholds)[0].tags)


def scored(*events: Event, thresholds: Thresholds | None = CUTS, now_ms: int = NOW_MS) -> Rfm:
    """RFM of these events."""
    return score(seen(*events, now_ms=now_ms), thresholds, CONFIG)
