"""Business days of one time zone: ms UTC → day number, day number → its first ms. Exact, also across clock changes.

A day number counts local calendar days since 1970-01-01. Days never turn back: where clocks are put back across
midnight, the new day, once begun, stays.
"""

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)
# Offsets are tabled once, so that a day costs an addition and a division. After the last year the last offset goes on.
_FIRST_YEAR, _LAST_YEAR = 1970, 2100


class CalendarError(ValueError):
    """The time zone is not in the tz database."""


class Calendar:
    """Day numbers of one IANA time zone. Immutable to callers; building takes some 50 ms and reads the tz database."""

    __slots__ = ("_high", "_low", "_offset", "_offsets", "_starts", "zone")

    def __init__(self, zone: str) -> None:
        self.zone = zone
        try:
            self._starts, self._offsets = _table(ZoneInfo(zone))
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise CalendarError(f"time_zone: expected an IANA time zone such as Asia/Shanghai, got {zone!r}") from error
        # The stretch of constant offset used last. Only a cache: it never changes an answer.
        self._low = self._high = self._offset = 0

    def day(self, ms: int) -> int:
        """The business day that contains `ms`."""
        if not self._low <= ms < self._high:
            self._use(bisect_right(self._starts, ms) - 1)
        return (ms + self._offset) // DAY_MS

    def start_ms(self, day: int) -> int:
        """The first ms of `day`; of a day that the zone skipped, the first ms of the next."""
        ms = day * DAY_MS - self._offset
        if self._low < ms < self._high:
            return ms
        index = max(0, bisect_right(self._starts, (day - 2) * DAY_MS) - 1)
        while True:
            self._use(index)
            ms = max(day * DAY_MS - self._offset, self._low)
            if ms < self._high:
                return ms
            index += 1

    def text(self, day: int) -> str:
        """ISO date of a day number; outside years 1–9999 the number itself."""
        try:
            return (_EPOCH + timedelta(days=day)).isoformat()
        except OverflowError:
            return f"day {day}"

    def _use(self, index: int) -> None:
        index = max(index, 0)
        self._low = self._starts[index] if index else -(1 << 62)
        self._high = self._starts[index + 1] if index + 1 < len(self._starts) else 1 << 62
        self._offset = self._offsets[index]


def _table(zone: ZoneInfo) -> tuple[list[int], list[int]]:
    """Starts and offsets (ms) of the stretches with one offset; a start is put off until no day turns back."""
    starts, offsets = [], []
    at = _ms(datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC))
    end = _ms(datetime(_LAST_YEAR, 1, 1, tzinfo=UTC))
    starts.append(at)
    offsets.append(_offset(zone, at))
    while at < end:
        offset = _offset(zone, at + DAY_MS)
        if offset != offsets[-1]:
            change = _change(zone, at, at + DAY_MS)
            last_day = (change - 1 + offsets[-1]) // DAY_MS
            starts.append(max(change, last_day * DAY_MS - offset))
            offsets.append(offset)
        at += DAY_MS
    return starts, offsets


def _change(zone: ZoneInfo, low: int, high: int) -> int:
    """The ms in (low, high] from which the offset at `high` holds; offsets change on whole seconds."""
    wanted = _offset(zone, high)
    while high - low > 1000:
        middle = (low + high) // 2000 * 1000
        if _offset(zone, middle) == wanted:
            high = middle
        else:
            low = middle
    return high


def _offset(zone: ZoneInfo, ms: int) -> int:
    offset = datetime.fromtimestamp(ms / 1000, zone).utcoffset() or timedelta()
    return offset // timedelta(milliseconds=1)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
