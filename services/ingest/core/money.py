"""Amounts: decimal text or numbers → whole minor units of an ISO 4217 currency. Decimal arithmetic, never float."""

import re
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import lru_cache

from iso4217 import Currency

MAX_MINOR = 2**63 - 1
# 40 digits hold every amount of 64-bit minor units exactly; ROUND_HALF_UP is what invoices do.
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_UP, Emin=-1000, Emax=1000, traps=[InvalidOperation])
_ONE = Decimal(1)
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", re.ASCII)
_PLAIN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
# What shops write for the renminbi although ISO 4217 says CNY.
_ALIASES = {
    "RMB": "CNY",
    "CNH": "CNY",
    "\u00a5": "CNY",
    "\uffe5": "CNY",
    "元": "CNY",
    "人民币": "CNY",
    "US$": "USD",
    "€": "EUR",
}
_SIGNS = "\u00a5\uffe5$€£ \t\u00a0"


def parse_amount(value: object) -> Decimal | None:
    """A number, or text such as "1299", "1,299.00", "¥19.90" → Decimal; None when it is no amount.

    A comma is a thousands separator and only where it groups three digits: "12,50" is refused, not guessed.
    """
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if not isinstance(value, str) or len(value) > 64:
        return None
    text = value.strip(_SIGNS)
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    return Decimal(text) if _PLAIN.fullmatch(text) else None


def to_minor(amount: Decimal, currency: str) -> int | None:
    """Whole minor units (fen, cents), half up; None beyond 64 bits. `currency` must be one that currency_code gave."""
    if amount.adjusted() > 18:
        return None
    minor = int(_CONTEXT.quantize(_CONTEXT.scaleb(amount, exponent_of(currency)), _ONE))
    return minor if abs(minor) <= MAX_MINOR else None


@lru_cache(maxsize=1_024)
def currency_code(text: str) -> str | None:
    """The ISO 4217 code for "cny", "CNY" or "RMB"; None when there is none."""
    code = text.strip().upper()
    code = _ALIASES.get(code, code)
    return code if code in _exponents() else None


def exponent_of(currency: str) -> int:
    """Digits after the point: CNY 2, JPY 0, KWD 3. Codes without minor units (gold, funds) count whole."""
    return _exponents()[currency]


@lru_cache(maxsize=1)
def _exponents() -> dict[str, int]:
    return {currency.code: currency.exponent or 0 for currency in Currency}
