"""Calendar months and business days as numbers."""

from datetime import date, timedelta
from functools import lru_cache

_EPOCH = date(1970, 1, 1)


# Months of interactions that a part keeps: a year of falls, and the month that is not over.
MONTHS = 14


@lru_cache(maxsize=1_024)
def month_of(day: int) -> int:
    """Months since 1970-01 of a business day."""
    at = _EPOCH + timedelta(days=day)
    return (at.year - 1970) * 12 + at.month - 1


@lru_cache(maxsize=1_024)
def first_day(month: int) -> int:
    """The first business day of a month, the inverse of month_of."""
    return (date(1970 + month // 12, month % 12 + 1, 1) - _EPOCH).days
