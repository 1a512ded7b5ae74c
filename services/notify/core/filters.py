"""The filters a template may use. Each takes one value and cannot make it grow beyond a fixed limit."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import Undefined
from markupsafe import escape

MAX_VALUE_CHARS = 64_000
# ISO 4217 currencies whose minor unit is not a hundredth and that shops meet; all others have two digits.
MINOR_DIGITS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "KWD": 3, "BHD": 3, "OMR": 3, "JOD": 3, "TND": 3}
SIGNS = {"CNY": "¥", "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


class RenderError(Exception):
    """A template cannot be rendered with this customer's data; the text names the template and the reason."""


def money(minor: Any, currency: str = "CNY") -> str:
    """Integer minor units → `¥1,234.50`, or `1,234.50 SEK` where no sign is known."""
    digits = MINOR_DIGITS.get(currency, 2)
    amount = f"{int(minor) / 10**digits:,.{digits}f}"
    return f"{SIGNS[currency]}{amount}" if currency in SIGNS else f"{amount} {currency}"


def date(ms: Any, zone: str = "UTC") -> str:
    """Milliseconds since 1970 UTC → `2025-06-15` in an IANA zone."""
    return _moment(ms, zone).strftime("%Y-%m-%d")


def time(ms: Any, zone: str = "UTC") -> str:
    """Milliseconds since 1970 UTC → `2025-06-15 09:30` in an IANA zone."""
    return _moment(ms, zone).strftime("%Y-%m-%d %H:%M")


def iso(ms: Any) -> str:
    """Milliseconds since 1970 UTC → `2025-06-15T01:30:00.000Z`."""
    return _moment(ms, "UTC").strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(ms) % 1000:03d}Z"


def _moment(ms: Any, zone: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(ms) / 1000, UTC).astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, OverflowError, OSError) as error:
        raise RenderError(f"no date: {ms!r} in zone {zone!r}") from error


def plus_hours(ms: Any, hours: Any) -> int:
    """A moment (ms) some hours later."""
    return int(ms) + int(float(hours) * 3_600_000)


def default(value: Any, other: Any = "") -> Any:
    """`other` when the value is undefined, null or empty."""
    return other if isinstance(value, Undefined) or value is None or value == "" else value


def join(values: Iterable[Any], separator: str = ", ") -> str:
    """The values as one text."""
    pieces: list[str] = []
    size = 0
    for value in values:
        pieces.append(str(value))
        size += len(pieces[-1]) + len(separator)
        if size > MAX_VALUE_CHARS:  # checked on the way: a list times a long separator must not be built first
            raise RenderError(f"a joined list of more than {MAX_VALUE_CHARS} characters")
    return separator.join(pieces)


def truncate(value: Any, length: int = 80) -> str:
    """At most `length` characters, an ellipsis where some were cut."""
    text = str(value)
    return text if len(text) <= length else text[: max(0, length - 1)] + "…"


def items(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Keys and values of an object, sorted by key."""
    return sorted(value.items())


def tojson(value: Any) -> str:
    """JSON text of a value."""
    return json.dumps(value, ensure_ascii=False)


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, Undefined) and function is not default:
            return str(value)  # raises what StrictUndefined has to say
        result = function(value, *args, **kwargs)
        if isinstance(result, str) and len(result) > MAX_VALUE_CHARS:
            raise RenderError(f"a value of more than {MAX_VALUE_CHARS} characters")
        return result

    return run


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "money": money, "date": date, "time": time, "iso": iso, "plus_hours": plus_hours, "default": default, "join": join,
    "truncate": truncate, "items": items, "tojson": tojson, "e": escape, "int": int, "length": len, "list": list,
    "round": round, "string": str,
    "lower": lambda value: str(value).lower(), "upper": lambda value: str(value).upper(),
    "title": lambda value: str(value).title(), "trim": lambda value: str(value).strip(),
    "first": lambda value: next(iter(value), ""),
}  # fmt: skip
FILTERS: Mapping[str, Callable[..., Any]] = {name: _limited(function) for name, function in _FUNCTIONS.items()}
