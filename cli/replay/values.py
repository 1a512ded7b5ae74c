"""What a mapping's expressions compute with: texts, exact decimals, and lines that cannot be computed."""

from collections.abc import Callable
from decimal import (
    ROUND_HALF_UP,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)
from functools import lru_cache
from typing import Any, TypeAlias

from services.ingest.core.money import parse_amount

# A record of the file: a list of texts (CSV) or a JSON object.
Row: TypeAlias = Any
Compute: TypeAlias = Callable[[Row], Any]

_TRAPS: list[type[DecimalException]] = [InvalidOperation, DivisionByZero, Overflow]
# Sums and products that 50 digits cannot hold exactly are refused: money is never silently rounded.
EXACT = Context(prec=50, rounding=ROUND_HALF_UP, traps=[*_TRAPS, Inexact])
# A quotient has no end in general; 50 digits are 30 more than any amount needs before it is rounded to minor units.
ROUNDED = Context(prec=50, rounding=ROUND_HALF_UP, traps=_TRAPS)


class LineError(Exception):
    """One line cannot become a message. `reason` names the rule, the same text for every line that breaks it."""

    def __init__(self, reason: str, shown: object = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.shown = str(shown)[:80]


@lru_cache(maxsize=65_536)
def _parse(text: str) -> Decimal | None:
    return parse_amount(text)


def as_number(value: object, name: str) -> Decimal:
    """The value as an exact decimal; text such as "1,299.00" is read as ingest reads amounts. Raises LineError."""
    if value.__class__ is Decimal:
        return value
    number = _parse(value) if isinstance(value, str) else parse_amount(value)
    if number is None:
        if value is None or value == "":
            raise LineError(f"{name} is empty, a number expected")
        raise LineError(f"{name} is no number", value)
    return number


def as_text(value: object, name: str) -> str:
    """The value as text; nothing is the empty text. Raises LineError for lists and objects."""
    if value.__class__ is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return str(value)
    raise LineError(f"{name} is a list or an object, text expected")


def is_empty(value: object) -> bool:
    """True for what a file holds where there is nothing: an empty cell, blanks, null."""
    return value is None or (isinstance(value, str) and not value.strip())
