"""Conditions that time begins: on which day did they begin, and which event set their clock?

A tag that time begins names that event: since and anchor then follow from the state alone and are the same after a
crash, a merge or a replay. Known are conditions of "so long ago" and "R fell to" next to anything that no event can
bring about meanwhile; of all others the record that begins them is the anchor.
"""

from collections.abc import Callable
from math import ceil, floor

from services.profile.core.tagging.facts import Facts
from services.profile.core.tagging.tree import (
    All,
    Any,
    Compare,
    Condition,
    Constant,
    Contains,
    OneOf,
    Percentile,
    Score,
    Since,
    Stage,
    Tag,
    Trait,
    Value,
)

# (day on which time began it, place of the event that set the clock)
Begin = tuple[int, str]
Clock = Callable[[Facts], Begin]


def clock_of(condition: Condition) -> Clock | None:
    """Where a condition that holds began, when time begins it; None when an event does."""
    if isinstance(condition, Compare):
        return _clock_of_comparison(condition)
    if isinstance(condition, All):
        clocks = [clock_of(part) for part in condition.of]
        known = [clock for clock in clocks if clock is not None]
        if not known or any(
            clock is None and not _is_neutral(part) for part, clock in zip(condition.of, clocks, strict=True)
        ):
            return None
        return lambda facts: max(clock(facts) for clock in known)
    return None


def _clock_of_comparison(atom: Compare) -> Clock | None:
    if not isinstance(atom.right, Constant) or isinstance(atom.right.value, str):
        return None
    left, limit = atom.left, atom.right.value
    if isinstance(left, Since) and left.moments and not left.events and atom.sign in (">", ">="):
        moments, days = left.moments, floor(limit) + 1 if atom.sign == ">" else ceil(limit)
        return lambda facts: (int(facts.latest(moments)) + days, facts.place(moments))
    if isinstance(left, Score) and left.name == "r" and atom.sign in ("<", "<="):
        score = floor(limit) if atom.sign == "<=" else ceil(limit) - 1
        if 1 <= score <= 4:
            return lambda facts: (int(facts.low_recency_day(score)), facts.place(("purchase",)))
    return None


def _is_neutral(condition: Condition) -> bool:
    """Whether no event can bring it about while the time of the condition beside it passes.

    Scores: a purchase that raises F or M makes R the best. Traits, tags and the stage are taken as they are.
    """
    if isinstance(condition, All | Any):
        return all(_is_neutral(part) for part in condition.of)
    if isinstance(condition, Compare):
        return _is_neutral_value(condition.left) and _is_neutral_value(condition.right)
    if isinstance(condition, OneOf):
        return _is_neutral_value(condition.value)
    return isinstance(condition, Trait | Tag | Contains)


def _is_neutral_value(value: Value) -> bool:
    return isinstance(value, Constant | Score | Percentile | Trait | Stage)
