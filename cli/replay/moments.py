"""Times in a file → ISO 8601 with an offset, which is what a message carries."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Generic, TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from yaml.nodes import MappingNode, Node

from cli.replay.values import LineError, as_number
from services.rules.core.yaml_source import Source

E = TypeVar("E")
ISO, UNIX_S, UNIX_MS = "iso", "unix_s", "unix_ms"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moment(Generic[E]):
    """An expression, and how its result is read as a time. format: iso, unix_s, unix_ms or one of strptime."""

    value: E
    format: str = ISO
    zone: tzinfo = UTC


def read_moment(source: Source, node: Node, expression: Callable[[Node], E | None]) -> Moment[E] | None:
    """`timestamp:` of a mapping: an expression, or {value, format, zone}."""
    if not isinstance(node, MappingNode):
        plain = expression(node)
        return None if plain is None else Moment(plain)
    nodes = source.mapping(node, "timestamp", ("value", "format", "zone"), ("value",))
    value = expression(nodes["value"]) if "value" in nodes else None
    form, zone = ISO, cast("tzinfo", UTC)
    if "format" in nodes:
        form = source.text(nodes["format"], "iso, unix_s, unix_ms or a format such as %d/%m/%Y %H:%M") or ISO
        if form not in (ISO, UNIX_S, UNIX_MS) and "%" not in form:
            source.wrong(nodes["format"], f"`{form}`", "iso, unix_s, unix_ms or a format such as %d/%m/%Y %H:%M")
    if "zone" in nodes and (name := source.text(nodes["zone"], "a time zone, e.g. Europe/London")) is not None:
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            source.wrong(nodes["zone"], f"time zone `{name}`", "an IANA name, e.g. Europe/London")
    return None if value is None else Moment(value, form, zone)


def time_reader(form: str, zone: tzinfo) -> Callable[[object], str]:
    """A function of a value; raises LineError when it is no time. Without an offset of its own a time is of `zone`."""

    # Lines of one invoice or one second share their time; strptime takes 8 µs.
    @lru_cache(maxsize=16_384)
    def from_text(text: str) -> str:
        try:
            moment = datetime.fromisoformat(text.strip()) if form == ISO else datetime.strptime(text.strip(), form)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=zone)
            return moment.isoformat()
        except (ValueError, OverflowError):
            expected = "ISO 8601" if form == ISO else form
            raise LineError(f"timestamp is no time in the format {expected}", text) from None

    def from_number(value: object) -> str:
        number = as_number(value, "timestamp")
        try:
            micros = int(number * (1_000_000 if form == UNIX_S else 1_000))
            return (_EPOCH + timedelta(microseconds=micros)).isoformat()
        except (OverflowError, ArithmeticError):
            raise LineError("timestamp is out of range", value) from None

    def read(value: object) -> str:
        if value is None or value == "":
            raise LineError("timestamp is empty")
        if form in (UNIX_S, UNIX_MS):
            return from_number(value)
        if not isinstance(value, str):
            raise LineError(f"timestamp is no text in the format {form}", value)
        return from_text(value)

    return read
