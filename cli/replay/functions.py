"""The functions that expressions may call."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cli.replay.typed import Kind, Typed, as_number_of, as_text_of
from cli.replay.values import ROUNDED, is_empty

MAX_ROUND_DIGITS = 12
MAX_ARGUMENTS = 8


@dataclass(frozen=True, slots=True)
class Function:
    """`build(arguments, source text)`. Raises ValueError for arguments it cannot take."""

    usage: str
    arity: range
    build: Callable[[Sequence[Typed], str], Typed]


def _text_test(usage: str, test: Callable[[str, str], bool]) -> Function:
    def build(arguments: Sequence[Typed], source: str) -> Typed:
        whole, part = as_text_of(arguments[0]), as_text_of(arguments[1])
        return Typed(Kind.CONDITION, lambda row: test(whole(row), part(row)), source)

    return Function(usage, range(2, 3), build)


def _text_change(usage: str, change: Callable[[str], str]) -> Function:
    def build(arguments: Sequence[Typed], source: str) -> Typed:
        value = as_text_of(arguments[0])
        return Typed(Kind.TEXT, lambda row: change(value(row)), source)

    return Function(usage, range(1, 2), build)


def _matches(arguments: Sequence[Typed], source: str) -> Typed:
    try:
        pattern = re.compile(_literal(arguments[1]))
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    value = as_text_of(arguments[0])
    return Typed(Kind.CONDITION, lambda row: pattern.fullmatch(value(row)) is not None, source)


def _replace(arguments: Sequence[Typed], source: str) -> Typed:
    value, old, new = as_text_of(arguments[0]), _literal(arguments[1]), _literal(arguments[2])
    return Typed(Kind.TEXT, lambda row: value(row).replace(old, new), source)


def _empty(arguments: Sequence[Typed], source: str) -> Typed:
    value = arguments[0].compute
    return Typed(Kind.CONDITION, lambda row: is_empty(value(row)), source)


def _number(arguments: Sequence[Typed], source: str) -> Typed:
    return Typed(Kind.NUMBER, as_number_of(arguments[0]), source)


def _absolute(arguments: Sequence[Typed], source: str) -> Typed:
    value = as_number_of(arguments[0])
    return Typed(Kind.NUMBER, lambda row: value(row).copy_abs(), source)


def _round(arguments: Sequence[Typed], source: str) -> Typed:
    value, name = as_number_of(arguments[0]), arguments[1].name
    if not name.isdecimal() or int(name) > MAX_ROUND_DIGITS:
        raise ValueError(f"digits: 0 to {MAX_ROUND_DIGITS}")
    unit = Decimal(1).scaleb(-int(name))
    return Typed(Kind.NUMBER, lambda row: value(row).quantize(unit, context=ROUNDED), source)


def _first(arguments: Sequence[Typed], source: str) -> Typed:
    computes = [argument.compute for argument in arguments]

    def compute(row: object) -> object:
        return next((value for each in computes if not is_empty(value := each(row))), None)

    return Typed(Kind.ANY, compute, source)


def _join(arguments: Sequence[Typed], source: str) -> Typed:
    parts = [as_text_of(argument) for argument in arguments]
    return Typed(Kind.TEXT, lambda row: "".join([part(row) for part in parts]), source)


def _literal(argument: Typed) -> str:
    if argument.literal is None:
        raise ValueError(f"{argument.name}: a text in quotes expected")
    return argument.literal


_MANY = range(2, MAX_ARGUMENTS + 1)
FUNCTIONS: dict[str, Function] = {
    "empty": Function("empty(column): true for nothing, blanks, null", range(1, 2), _empty),
    "startswith": _text_test('startswith(column, "C")', str.startswith),
    "endswith": _text_test('endswith(column, "-R")', str.endswith),
    "contains": _text_test('contains(column, "gift")', lambda whole, part: part in whole),
    "matches": Function('matches(column, "regular expression of the whole text")', range(2, 3), _matches),
    "lower": _text_change("lower(column)", str.lower),
    "upper": _text_change("upper(column)", str.upper),
    "strip": _text_change("strip(column)", str.strip),
    "replace": Function('replace(column, "old", "new")', range(3, 4), _replace),
    "join": Function('join(column, "-", other)', _MANY, _join),
    "first": Function("first(column, other): the first that is not empty", _MANY, _first),
    "number": Function("number(column)", range(1, 2), _number),
    "abs": Function("abs(number)", range(1, 2), _absolute),
    "round": Function("round(number, digits), half up", range(2, 3), _round),
}
