"""Times: ISO 8601 or seconds/milliseconds/... since 1970 → ms UTC, and Segment's correction of wrong client clocks."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
# Nobody collected touchpoints before; 1970 and 1999 are unset clocks.
EARLIEST_MS = 946_684_800_000  # 2000-01-01T00:00:00Z
_NUMBER = re.compile(r"\d{9,19}(?:\.\d{1,9})?", re.ASCII)
_LOOSE = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)


# Batches carry one sentAt and events of one second; imports repeat dates.
@lru_cache(maxsize=4_096)
def _parse_text(text: str, zone: tzinfo) -> int | None:
    text = text.strip()
    loose = None
    # Nearly every time is ISO 8601 with hyphens; the other forms are asked for only where there is none.
    if text[4:5] != "-":
        if _NUMBER.fullmatch(text):
            return _from_number(Decimal(text))
        loose = _LOOSE.fullmatch(text)
    try:
        if loose:
            moment = datetime(*(int(part) for part in loose.groups("0")))  # type: ignore[arg-type]
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return (moment - EPOCH) // _MS
    except (ValueError, OverflowError):
        return None


def parse_time(value: object, zone: tzinfo = UTC) -> int | None:
    """ms since 1970 UTC, or None when it is no time.

    Text: ISO 8601, or 2024/1/31 12:00 as spreadsheets write it; without an offset it is of `zone`. Numbers: seconds
    below 10^11 (the year 5138), then milliseconds, microseconds, nanoseconds.
    """
    if isinstance(value, str):
        return _parse_text(value, zone) if len(value) <= 40 else None
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return _from_number(value)
    return None


def _from_number(value: int | Decimal) -> int | None:
    if not 0 < value < 10**20:
        return None
    if value < 10**11:
        return int(value * 1000)
    if value < 10**14:
        return int(value)
    return int(value) // (1_000 if value < 10**17 else 1_000_000)


def correct_skew(stated_ms: int, sent_ms: int | None, received_at: int) -> int:
    """The moment by the server's clock: received_at − (sentAt − timestamp), as Segment specifies.

    Both of the client's times come from one clock, so their distance is right even when that clock is not. Without
    sentAt the stated time stands.
    """
    return stated_ms if sent_ms is None else received_at - (sent_ms - stated_ms)


def is_plausible(moment_ms: int, received_at: int, max_future_ms: int) -> bool:
    """After 2000 and not further ahead of the receipt than max_future_ms."""
    return EARLIEST_MS <= moment_ms <= received_at + max_future_ms
