"""What is left of a condition for people who have never bought: most people, while most conditions are of buyers.

Of them orders are 0, and what they never did is no number: every comparison with it is false.
"""

import operator
from collections.abc import Callable
from math import nan

from services.profile.core.tagging.tree import (
    After,
    All,
    Any,
    Arithmetic,
    Atom,
    Compare,
    Condition,
    Constant,
    Not,
    Percentile,
    Score,
    Since,
    Value,
    Window,
)
from services.profile.core.tagging.vocabulary import ORDERS

_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_BOUGHT = frozenset(("purchase", "first_purchase"))
_UNKNOWN = Constant(nan)


def of_visitors(condition: Condition) -> Condition | bool:
    """The same condition for somebody without purchases and refunds; true or false where that is all it depends on."""
    if isinstance(condition, Not):
        inner = of_visitors(condition.of)
        return not inner if isinstance(inner, bool) else Not(inner)
    if isinstance(condition, All | Any):
        decides = isinstance(condition, Any)
        left = []
        for part in condition.of:
            found = of_visitors(part)
            if found is decides:
                return decides
            if not isinstance(found, bool):
                left.append(found)
        if not left:
            return not decides
        return left[0] if len(left) == 1 else type(condition)(tuple(left))
    return _atom(condition)


def _atom(atom: Atom) -> Condition | bool:
    if isinstance(atom, After):
        return False if {atom.later, atom.earlier} & _BOUGHT else atom
    if not isinstance(atom, Compare):
        return atom
    left, right = _value(atom.left), _value(atom.right)
    if _UNKNOWN in (left, right):
        return False
    if isinstance(left, Constant) and isinstance(right, Constant):
        if isinstance(left.value, str) or isinstance(right.value, str):
            return atom
        return _SIGNS[atom.sign](left.value, right.value)
    return Compare(atom.sign, left, right)


def _value(value: Value) -> Value:
    """Of a visitor; _UNKNOWN is what never was."""
    if isinstance(value, Window) and value.name == ORDERS:
        return Constant(0)
    if isinstance(value, Since):
        moments = tuple(moment for moment in value.moments if moment not in _BOUGHT)
        return Since(moments, value.events) if moments or value.events else _UNKNOWN
    if isinstance(value, Score | Percentile):
        return _UNKNOWN
    if isinstance(value, Arithmetic):
        left, right = _value(value.left), _value(value.right)
        if _UNKNOWN in (left, right) or (value.sign == "/" and right == Constant(0)):
            return _UNKNOWN
        return Arithmetic(value.sign, left, right)
    return value
