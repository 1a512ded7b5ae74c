"""Compiled expressions with what they result in, and the two conversions between results."""

from dataclasses import dataclass
from enum import Enum

from cli.replay.values import Compute, as_number, as_text


class ExpressionError(Exception):
    """The text is no expression; `offset` counts characters from its beginning."""

    def __init__(self, found: str, expected: str, offset: int = 0) -> None:
        super().__init__(f"{found}: expected {expected}")
        self.found = found
        self.expected = expected
        self.offset = offset


class Wanted(Enum):
    """What an expression must result in, by where it stands."""

    VALUE = "a value"
    NUMBER = "a number"
    CONDITION = "a condition, e.g. Quantity > 0"


class Kind(Enum):
    """What an expression results in; ANY: whatever the column holds."""

    ANY = "any"
    TEXT = "text"
    NUMBER = "number"
    CONDITION = "condition"


@dataclass(frozen=True, slots=True)
class Typed:
    """A compiled expression; `name` is its text, for messages. `literal`: the text itself, where it is one."""

    kind: Kind
    compute: Compute
    name: str
    literal: str | None = None


def as_number_of(typed: Typed) -> Compute:
    """The same, as a number; columns are read as one. Raises ExpressionError for a condition."""
    if typed.kind is Kind.NUMBER:
        return typed.compute
    if typed.kind is Kind.CONDITION:
        raise ExpressionError(f"`{typed.name}`", "a number, not a condition")
    compute, name = typed.compute, typed.name
    return lambda row: as_number(compute(row), name)


def as_text_of(typed: Typed) -> Compute:
    """The same, as text."""
    if typed.kind is Kind.TEXT:
        return typed.compute
    compute, name = typed.compute, typed.name
    return lambda row: as_text(compute(row), name)
