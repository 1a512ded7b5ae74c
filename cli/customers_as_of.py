"""All customers as of the end of a business day, computed anew from the events in ClickHouse with profile's own folds.

Who is whom is today's knowledge: later merges and splits apply, later events do not. Scores are cut by the population
of that day, so their thresholds_version is 0: no stored version was used.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from cli.customer_facts import Customer, Held
from cli.folding import parts_of
from services.profile.core.config import ProfileConfig
from services.profile.core.population import compute_thresholds
from services.profile.core.rfm import score
from services.profile.core.state import Thresholds, View
from services.profile.core.summary import traits_of
from services.profile.core.tagging.facts import Facts
from services.profile.core.tags import conclude
from services.profile.core.timers import untils_ms
from services.profile.core.view import view

EVENTS = """
SELECT customer_id, node, event_id, type, name, source, toUnixTimestamp64Milli(occurred_at) AS at,
    toUnixTimestamp64Milli(received_at), order_id, amount_minor, currency, traits, flags, properties,
    concat(toString(place_generation), '.', toString(place_partition), '.', toString(place_offset))
FROM events
WHERE occurred_at < fromUnixTimestamp64Milli({end_ms:Int64})
ORDER BY customer_id
"""
IDENTIFIERS = "SELECT customer_id, identifiers FROM customers"


def customers_as_of(
    rows: Iterator[tuple[Any, ...]],
    identifiers: Callable[[], dict[str, list[str]]],
    day: int,
    config: ProfileConfig,
    passed_over: Callable[[int], None],
) -> Iterator[Customer]:
    """Customers with at least one event by the end of business day `day`, by id. `rows` as EVENTS selects them.

    passed_over is told, before the first of them, of events that cannot be counted.
    """
    end_ms = config.calendar.start_ms(day + 1)
    views = {}
    for customer_id, group in groupby(rows, key=itemgetter(0)):
        folded = parts_of((row[1:] for row in group), config)
        passed_over(folded.passed_over)
        if folded.parts:
            views[customer_id] = view(folded.parts.values(), end_ms - 1, config)
    thresholds = _thresholds(views, config)
    masked = identifiers()
    for customer_id, seen in views.items():
        yield _customer(customer_id, seen, thresholds, masked.get(customer_id, []), config)


def _thresholds(views: dict[str, View], config: ProfileConfig) -> Thresholds | None:
    scored = (score(seen, None, config) for seen in views.values())
    return compute_thresholds(
        ((rfm.recency_days, rfm.frequency, rfm.monetary_minor) for rfm in scored if rfm.frequency >= 1), 0
    )


def _customer(
    customer_id: str, seen: View, thresholds: Thresholds | None, identifiers: list[str], config: ProfileConfig
) -> Customer:
    rfm = score(seen, thresholds, config)
    # What an event began is dated to the last one of the day: when exactly is in tag_changes, for who lived through it.
    facts = Facts(seen, rfm, thresholds, config)
    conclusion, _ = conclude(facts, (), seen.activity_place, seen.last_ms, config)
    untils = untils_ms(facts, conclusion, config)
    return Customer(
        customer_id,
        identifiers,
        traits_of(seen.parts),
        seen.first_ms,
        seen.last_ms,
        rfm.recency_days,
        rfm.frequency,
        rfm.monetary_minor,
        rfm.currency,
        rfm.r,
        rfm.f,
        rfm.m,
        rfm.thresholds_version,
        conclusion.stage,
        [Held(name, tag.since_ms, untils[name], tag.reason) for name, tag in sorted(conclusion.tags.items())],
        seen.events,
    )
