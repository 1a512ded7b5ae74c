"""What is left of a condition for people who have never bought: most people, while most conditions are of buyers.

Of them orders are 0, and what they never did is no number: every comparison with it is false.
"""

import operator
from collections.abc import Callable

from services.profile.core.tagging.tree import (
    After,
    All,
    Any,
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
    if isinstance(atom, Compare) and isinstance(atom.right, Constant) and not isinstance(atom.right.value, str):
        if isinstance(atom.left, Window) and atom.left.name == ORDERS:
            return _SIGNS[atom.sign](0, atom.right.value)
        if _is_unknown(atom.left):
            return False
    return atom


def _is_unknown(value: Value) -> bool:
    if isinstance(value, Since):
        return not value.events and _BOUGHT.issuperset(value.moments)
    return isinstance(value, Score | Percentile)
