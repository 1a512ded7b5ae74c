"""The `if` of a rule: a CEL expression, checked and compiled once, evaluated on what a change says.

An expression sees `profile`, `event` and `now` and nothing else; CEL has no loops beyond lists, no I/O and no clock.
Times are timestamps in the business zone: `now.getHours()` is the hour of the shop, `now - event.occurred_at` a
duration.
"""

from collections.abc import Mapping
from datetime import datetime, timezone, tzinfo
from enum import Enum
from typing import Any

import msgspec

from services.rules.core.cel_check import CEL_ERRORS, check
from services.rules.core.cel_source import Fields
from services.rules.core.model import Change


class Failure(Enum):
    """Kinds of failure at run time; a closed list, it labels a metric."""

    MISSING = "missing_field"
    TYPE = "type"
    ARITHMETIC = "arithmetic"
    VALUE = "value"


class ConditionFailed(Exception):  # noqa: N818
    """The expression has no value for this change. Carries no data of the customer, so it may be logged."""

    def __init__(self, kind: Failure) -> None:
        super().__init__(kind.value)
        self.kind = kind


class Condition:
    """A compiled expression; immutable, safe to evaluate any number of times."""

    __slots__ = ("_program", "_reads", "text")

    def __init__(self, text: str) -> None:
        """Check and compile. Raises ConditionRefused with everything that is wrong."""
        self._program, mentions = check(text)
        self._reads = mentions.reads
        self.text = text

    def holds(self, change: Change, zone: tzinfo) -> bool:
        """True when the change meets the condition. Raises ConditionFailed."""
        try:
            result = self._program.execute(self._variables(change, zone))
        except CEL_ERRORS as error:
            raise ConditionFailed(_failure(error)) from None
        if isinstance(result, bool):
            return result
        raise ConditionFailed(Failure.TYPE)

    def _variables(self, change: Change, zone: tzinfo) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, fields in self._reads.items():
            if name == "profile":
                values[name] = _profile(msgspec.json.decode(change.profile or b"{}"), fields, zone)
            elif name == "event":
                values[name] = _event(change, fields, zone)
            else:
                values[name] = timestamp(change.moment_ms, zone)
        return values


def timestamp(moment_ms: int, zone: tzinfo) -> datetime:
    """A moment as CEL takes it: with a fixed offset (the library refuses zones that have a history)."""
    local = datetime.fromtimestamp(moment_ms / 1000, zone)
    offset = local.utcoffset()
    return local if offset is None else local.replace(tzinfo=timezone(offset))


def _profile(source: Mapping[str, Any], fields: Fields | None, zone: tzinfo) -> dict[str, Any]:
    values = _project(source, fields)
    for name in ("first_seen", "last_seen", "stage_since"):
        if isinstance(values.get(name), int):
            values[name] = timestamp(values[name], zone)
    tags = values.get("tags")
    if isinstance(tags, dict):
        values["tags"] = {
            name: {**tag, "since": timestamp(tag["since"], zone)} if isinstance(tag.get("since"), int) else tag
            for name, tag in tags.items()
        }
    return values


def _event(change: Change, fields: Fields | None, zone: tzinfo) -> dict[str, Any]:
    source: dict[str, Any] = {
        "id": change.event_id,
        "type": change.type,
        "name": change.name,
        "source": change.source,
        "first": change.first,
    }
    if fields is None or "occurred_at" in fields:
        source["occurred_at"] = timestamp(change.occurred_at, zone)
    if fields is None or "accepted_at" in fields:
        source["accepted_at"] = timestamp(change.moment_ms, zone)
    if fields is None or "properties" in fields:
        source["properties"] = msgspec.json.decode(change.properties or b"{}")
    return _project(source, fields)


def _project(source: Mapping[str, Any], fields: Fields | None) -> dict[str, Any]:
    """What the expression can read of `source`; absent stays absent, so that has() answers the same."""
    if fields is None:
        return dict(source)
    values = {}
    for name, keys in fields.items():
        if name in source:
            value = source[name]
            if keys is not None and isinstance(value, dict):
                value = {key: value[key] for key in keys if key in value}
            values[name] = value
    return values


def _failure(error: Exception) -> Failure:
    if isinstance(error, ArithmeticError):
        return Failure.ARITHMETIC
    if isinstance(error, LookupError):
        return Failure.MISSING
    if isinstance(error, TypeError) or (isinstance(error, RuntimeError) and str(error).startswith("Undefined")):
        return Failure.TYPE
    return Failure.VALUE
