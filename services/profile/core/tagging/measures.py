"""Counters that look into an event's properties: their conditions, and what one event adds to them.

`where` compares properties with constants: `coupon != ""`, `product.category in ["tea", "tea sets"]`. A path that meets
a list means any of its items. With `each: products` the items of that list are looked at one by one, `where` and `sum`
then name the item's own properties, and event.<name> those of the event. Text is compared without regard to case.
"""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import isfinite

from services.profile.core.calendar import Calendar
from services.profile.core.state import Json
from services.profile.core.tagging.parse import ConditionError, column_of, expression, near
from services.profile.core.tagging.vocabulary import Counter

# One item of the event, the event's properties, its business day → is it one that counts?
Test = Callable[[Json, Json, int], bool]
Get = Callable[[Json, Json, int], list[Json]]
MAX_LENGTH = 500
# A till that writes nonsense must not make a sum that no 64 bits hold.
MAX_ADDED = 1_000_000_000
_SIGNS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}
_FUNCTIONS = ("exists", "contains", "days_before")


@dataclass(frozen=True, slots=True)
class Measure:
    """A counter that looks into properties, ready to be asked.

    words: names of properties of which an event that counts has at least one, as they stand in JSON; none: not known.
    place: in Catalogue.tallied.
    """

    name: str
    each: str
    test: Test
    sum: str
    words: tuple[bytes, ...] = ()
    place: int = 0

    def may_add(self, properties: bytes, is_line: bool = False) -> bool:
        """False for an event that adds nothing, without reading its JSON: most events have nothing to do with it."""
        if not self.words or (is_line and self.test is _always):
            return True
        # A shop may also write a letter of a name as \u0063.
        for word in self.words:  # any() with a generator costs three times as much
            if word in properties:
                return True
        return b"\\u00" in properties

    def of(self, properties: Json, day: int, is_line: bool = False) -> int:
        """What an event of business day `day` adds: 1 or 0, or the sum over its items that count. Never negative.

        is_line: the line of an order, which is an item itself where it lists none.
        """
        if not isinstance(properties, dict):
            return 0
        if not self.each:
            return self._added(properties) if self.test(properties, properties, day) else 0
        items = properties.get(self.each, properties if is_line else None)
        listed = items if isinstance(items, list) else [items]
        found = [item for item in listed if item is not None and self.test(item, properties, day)]
        if not self.sum:
            return 1 if found else 0
        return min(sum(self._added(item) for item in found), MAX_ADDED)

    def _added(self, item: Json) -> int:
        if not self.sum:
            return 1
        if not isinstance(item, dict):
            return 0
        value = _number(item.get(self.sum))
        # An item without a quantity is one of it.
        return 1 if value is None else int(min(max(value, 0), MAX_ADDED))


def measure_of(counter: Counter, calendar: Calendar, place: int = 0) -> Measure:
    """The measure of a checked counter. Raises ConditionError."""
    if not counter.where:
        of_list = (f'"{counter.each}"'.encode(),) if counter.each else ()
        return Measure(counter.name, counter.each, _always, counter.sum, of_list, place)
    where = _Where(counter.each, calendar)
    test = where.read(counter.where)
    words = () if where.is_negated else tuple(sorted(where.words))
    return Measure(counter.name, counter.each, test, counter.sum, words, place)


def _always(item: Json, event: Json, day: int) -> bool:
    return True


class _Where:
    """Reads one `where`."""

    def __init__(self, each: str, calendar: Calendar) -> None:
        self._each, self._calendar, self._read = each, calendar, ""
        self.words: set[bytes] = set()
        self.is_negated = False

    def read(self, text: str) -> Test:
        self._read = text
        return self._test(expression(text, MAX_LENGTH, 'a condition such as category == "tea"'))

    def _wrong(self, node: ast.expr, expected: str) -> ConditionError:
        return ConditionError(f"`{ast.unparse(node)}`", expected, column_of(node, self._read))

    def _test(self, node: ast.expr) -> Test:
        if isinstance(node, ast.BoolOp):
            tests = [self._test(value) for value in node.values]
            if isinstance(node.op, ast.And):
                return lambda item, event, day: all(test(item, event, day) for test in tests)
            return lambda item, event, day: any(test(item, event, day) for test in tests)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.is_negated = True
            inner = self._test(node.operand)
            return lambda item, event, day: not inner(item, event, day)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._comparison(node, node.left, node.ops[0], node.comparators[0])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._call(node, node.func.id)
        raise self._wrong(node, 'a comparison such as category == "tea", exists(coupon) or contains(name, "tea")')

    def _comparison(self, node: ast.Compare, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> Test:
        get = self._get(left)
        if isinstance(sign, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple) or not right.elts:
                raise self._wrong(right, 'a list such as ["tea", "coffee"]')
            options = [self._constant(item) for item in right.elts]
            is_in = isinstance(sign, ast.In)
            self.is_negated |= not is_in
            return lambda item, event, day: (
                any(_equal(value, option) for value in get(item, event, day) for option in options) is is_in
            )
        limit = self._constant(right)
        if isinstance(sign, ast.Eq | ast.NotEq):
            wanted = isinstance(sign, ast.Eq)
            # != "" of a property that is not there is false: there is nothing to speak of.
            if wanted:
                return lambda item, event, day: any(_equal(value, limit) for value in get(item, event, day))
            return lambda item, event, day: any(not _equal(value, limit) for value in get(item, event, day))
        if type(sign) not in _SIGNS or isinstance(limit, str):
            raise self._wrong(node, "< <= > >= with a number, == != in with anything")
        compare = _SIGNS[type(sign)]
        return lambda item, event, day: any(
            compare(number, limit) for value in get(item, event, day) if (number := _number(value)) is not None
        )

    def _call(self, node: ast.Call, name: str) -> Test:
        if name == "exists" and len(node.args) == 1 and not node.keywords:
            get = self._get(node.args[0])
            return lambda item, event, day: any(value != "" for value in get(item, event, day))
        if name == "contains" and len(node.args) == 2 and not node.keywords:
            get, part = self._get(node.args[0]), self._constant(node.args[1])
            if isinstance(part, str) and part:
                wanted = part.casefold()
                return lambda item, event, day: any(
                    isinstance(value, str) and wanted in value.casefold() for value in get(item, event, day)
                )
        raise self._wrong(node, f"one of exists(path), contains(path, text){near(name, _FUNCTIONS)}")

    def _constant(self, node: ast.expr) -> float | str | bool:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self._constant(node.operand)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | bool):
            return node.value
        if isinstance(node, ast.Name) and node.id in ("true", "false"):
            return node.id == "true"
        raise self._wrong(node, "a number, true, false or a text in quotes")

    def _get(self, node: ast.expr) -> Get:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "days_before":
            if len(node.args) == 1 and not node.keywords:
                return self._days_before(self._get(node.args[0]))
            raise self._wrong(node, "days_before(path): days from a date to the event")
        path: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            path.insert(0, inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            raise self._wrong(node, "a property such as category or event.coupon")
        is_of_event = inner.id == "event" and self._each and path
        name = path[-1] if path else inner.id
        # As a shop that writes other letters than ASCII may spell it differently in JSON.
        self.is_negated |= not name.isascii()
        self.words.add(f'"{name}"'.encode())
        if is_of_event:
            return lambda item, event, day: _along(event, path)
        whole = [inner.id, *path]
        return lambda item, event, day: _along(item, whole)

    def _days_before(self, get: Get) -> Get:
        calendar = self._calendar

        def days(item: Json, event: Json, day: int) -> list[Json]:
            found = [_day(value, calendar) for value in get(item, event, day)]
            return [day - begin for begin in found if begin is not None]

        return days


_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_EPOCH = date(1970, 1, 1)
_UNIX, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)


def _day(value: Json, calendar: Calendar) -> int | None:
    """The business day of a date that a shop writes: 2026-03-01, alone or before a time.

    A time with a zone is a moment and lies on the business day of that moment; one without is read as local.
    """
    if not isinstance(value, str) or not _ISO_DATE.match(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    try:
        if moment is not None and moment.tzinfo is not None and moment > _UNIX:
            return calendar.day((moment - _UNIX) // _SECOND * 1_000)
        return (date.fromisoformat(value[:10]) - _EPOCH).days
    except (ValueError, OverflowError):
        return None


def _along(value: Json, path: list[str]) -> list[Json]:
    """Everything at the end of a path; a list on the way means each of its items."""
    found = [value]
    for name in path:
        found = [
            item[name]
            for one in found
            for item in (one if isinstance(one, list) else (one,))
            if isinstance(item, Mapping) and item.get(name) is not None
        ]
    return [item for one in found for item in (one if isinstance(one, list) else (one,))]


def _number(value: Json) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return None
        return number if isfinite(number) else None
    return None


def _equal(value: Json, limit: float | str | bool) -> bool:
    if isinstance(limit, str):
        return isinstance(value, str) and value.casefold() == limit.casefold()
    if isinstance(limit, bool) or isinstance(value, bool):
        return value is limit
    return _number(value) == limit
