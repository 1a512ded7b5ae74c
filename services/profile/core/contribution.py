"""What a touchpoint contributes to a profile: decoded record → `Event`, identifiers masked, traits made storable."""

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from services.profile.core.calendar import DAY_MS
from services.profile.core.state import UNREADABLE, Event, Json

_TRAITS = msgspec.json.Decoder(dict[str, Json])
# An integer of 19 digits may be beyond 64 bits, which state and other readers cannot hold.
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
# A source that writes to Kafka itself may have any clock. A far future would empty the rings, which forget by the
# newest day.
_MAX_AHEAD_MS = DAY_MS


class ContributionError(ValueError):
    """The touchpoint cannot be counted; the text says which field, without its content."""


def contribution(touchpoint: Mapping[str, Json], place: str) -> Event:
    """The event of a decoded touchpoint record; `place` is "<generation>.<partition>.<offset>".

    Raises ContributionError when traits are no JSON object (the record is poison, the customer goes on).
    """
    raw: bytes = touchpoint["traits"]
    traits: dict[str, Json] = {}
    if len(raw) > 2:
        try:
            traits = _TRAITS.decode(raw)
        except UNREADABLE as error:
            raise ContributionError(f"touchpoint at {place}: traits: expected a JSON object: {error}") from error
        if _LONG_NUMBER.search(raw):
            traits = {name: _storable(value) for name, value in traits.items()}
    return Event(
        touchpoint["event_id"],
        touchpoint["type"],
        touchpoint["name"],
        touchpoint["source"],
        place,
        min(touchpoint["occurred_at"], touchpoint["received_at"] + _MAX_AHEAD_MS),
        touchpoint["order_id"],
        touchpoint["amount_minor"],
        touchpoint["currency"],
        traits,
        touchpoint["flags"],
        tuple([mask(text) for text in touchpoint["identifiers"]]),
        touchpoint["properties"],
    )


@lru_cache(maxsize=65_536)
def mask(identifier: str) -> str:
    """An identifier for people: kind:value with the middle hidden, e.g. phone:+86138****5678, email:a***@example.com.

    Of a long phone number the four digits before the last four are hidden (what Chinese readers are used to), of other
    values at least half of the characters, so that a short one is not shown whole.
    """
    kind, _, value = identifier.partition(":")
    if kind == "email" and "@" in value:
        local, _, domain = value.rpartition("@")
        return f"{kind}:{local[:1]}***@{domain}"
    scope, slash, value = value.rpartition("/")
    head = tail = min(4, len(value) // 4)
    if kind == "phone" and len(value) > 10:
        head, tail = len(value) - 8, 4
    return f"{kind}:{scope}{slash}{value[:head]}****{value[len(value) - tail :]}"


def _storable(value: Json) -> Json:
    """The value with integers beyond 64 bits as text."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {name: _storable(item) for name, item in value.items()}
    return value
