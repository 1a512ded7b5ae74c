"""A customer as `touchstream customer show` and `touchstream customers` print it: the fields of the fixed interface.

From current snapshots here; as of a past day in customers_as_of.py.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from services.chassis.clickhouse import Row
from services.profile.core.calendar import Calendar


class Held(NamedTuple):
    """A tag that a customer holds. until: when it ends if nothing happens; 0: no day within sight ends it."""

    name: str
    since: int
    until: int
    reason: str


@dataclass(frozen=True, slots=True)
class Customer:
    """Times in ms since 1970-01-01 UTC, 0 = never; money in minor units. tags by name."""

    customer_id: str
    identifiers: list[str]
    traits: dict[str, Any]
    first_seen: int
    last_seen: int
    recency_days: int
    frequency: int
    monetary_minor: int
    currency: str
    r: int
    f: int
    m: int
    thresholds_version: int
    stage: str
    tags: list[Held]
    events: int


def as_json(customer: Customer) -> dict[str, Any]:
    """The fixed interface; times as ISO 8601 in UTC, null = never."""
    return {
        "customer_id": customer.customer_id,
        "identifiers": customer.identifiers,
        "traits": customer.traits,
        "first_seen": iso(customer.first_seen),
        "last_seen": iso(customer.last_seen),
        "rfm": {
            "recency_days": customer.recency_days,
            "frequency": customer.frequency,
            "monetary_minor": customer.monetary_minor,
            "r": customer.r,
            "f": customer.f,
            "m": customer.m,
            "thresholds_version": customer.thresholds_version,
        },
        "stage": customer.stage,
        "tags": [
            {"name": tag.name, "since": iso(tag.since), "until": iso(tag.until), "reason": tag.reason}
            for tag in customer.tags
        ],
        "events": customer.events,
    }


def iso(ms: int) -> str | None:
    """2025-06-15T14:00:00.000Z; None for 0."""
    if not ms:
        return None
    moment = datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Columns of the view customers that from_row() reads.
COLUMNS = """
customer_id, identifiers, traits, toUnixTimestamp64Milli(first_seen) AS first_seen_ms,
toUnixTimestamp64Milli(last_seen) AS last_seen_ms, recency_days, frequency, monetary_minor, currency, r, f, m,
thresholds_version, stage, tags_json, events, nodes, toUnixTimestamp64Milli(updated_at) AS updated_ms
"""


def recency_on(today: int, recency_days: int, updated_ms: int, calendar: Calendar) -> int:
    """A snapshot's recency was right on its own day; the days since then are added. -1: no purchase."""
    return recency_days if recency_days < 0 else recency_days + max(0, today - calendar.day(updated_ms))


def from_row(row: Row, today: int, calendar: Calendar) -> Customer:
    """A row of COLUMNS."""
    return Customer(
        row["customer_id"],
        list(row["identifiers"]),
        json.loads(row["traits"]),
        row["first_seen_ms"],
        row["last_seen_ms"],
        recency_on(today, row["recency_days"], row["updated_ms"], calendar),
        row["frequency"],
        row["monetary_minor"],
        row["currency"],
        row["r"],
        row["f"],
        row["m"],
        row["thresholds_version"],
        row["stage"],
        [Held(tag["name"], tag["since"], tag["until"], tag["reason"]) for tag in json.loads(row["tags_json"])],
        row["events"],
    )
