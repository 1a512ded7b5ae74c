"""What ingest knows about the sender of an event: a source system and the rights of the write key it used."""

import re
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

STANDARD_TYPES = frozenset({"identify", "track", "page", "screen", "group", "alias"})
# Corrections of the graph: only for keys that are given them by name.
CONTROL_TYPES = frozenset({"unlink", "erase", "link", "refuse", "release"})
DEFAULT_MAX_FUTURE_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class FieldRules:
    """Fields that events must have. Paths start at the message (properties.order_id); "a|b": one of them.

    by_name: touchpoint name (a track's event, "Identified", "Page Viewed" ...) or "*" → paths.
    """

    by_name: dict[str, tuple[str, ...]] = field(default_factory=dict)
    refuses_invalid: bool = False

    def required(self, name: str) -> tuple[str, ...]:
        """Every path that an event of this name must have."""
        return self.by_name.get("*", ()) + self.by_name.get(name, ())


@dataclass(frozen=True, slots=True)
class Source:
    """A source system as one of its write keys may act for it."""

    name: str
    # Short name of the key for limits and logs: the first characters of its digest.
    key: str = ""
    region: str = "CN"
    currency: str = "CNY"
    zone: tzinfo = UTC
    app_id: str = ""
    corp_id: str = ""
    # A shared or recycled phone (family, call centre) is an attribute of the person there, no identity.
    phone_identifies: bool = True
    user_id_pattern: re.Pattern[str] | None = None
    max_future_ms: int = DEFAULT_MAX_FUTURE_MS
    rules: FieldRules = field(default_factory=FieldRules)
    is_public: bool = False
    types: frozenset[str] = STANDARD_TYPES
    events_per_s: float = 0.0
    burst_events: float = 0.0
