"""Why a tag began, in words: what its condition saw, or the operator's own sentence with values in braces.

The words are made once, when a tag begins. Of a tag that time begins they say what was so on that day.
"""

from collections.abc import Callable
from math import isfinite
from string import Formatter

from services.profile.core.calendar import Calendar
from services.profile.core.tagging.compile import Others, holds, number
from services.profile.core.tagging.facts import Facts
from services.profile.core.tagging.parse import ConditionError, near, parse_value
from services.profile.core.tagging.tree import (
    After,
    All,
    Any,
    Arithmetic,
    Compare,
    Condition,
    Constant,
    Contains,
    MonthsFalling,
    OneOf,
    Percentile,
    Score,
    Since,
    Stage,
    Tag,
    Trait,
    Value,
    Window,
)
from services.profile.core.tagging.vocabulary import BUILT_IN, MOMENTS, PERCENTILES, SCORES, SPEND, Words

Say = Callable[[Facts, int], str]
_SAID = {">": "more than", ">=": "at least", "<": "less than", "<=": "at most", "==": "exactly", "!=": "not"}
# Long enough for a sentence; tags travel with every change of the customer.
MAX_LENGTH = 300


def reason_of(condition: Condition, others: Others, calendar: Calendar) -> Say:
    """The parts of the condition that hold, each with what it saw."""
    parts = _parts(condition, others, calendar)
    return lambda facts, day: ", ".join(dict.fromkeys(parts(facts, day)))[:MAX_LENGTH]


def parse_reason(text: str, words: Words, others: Others, calendar: Calendar) -> Say:
    """A sentence with values of the same language in braces, and {date(purchase)}. Raises ConditionError."""
    pieces: list[Say] = []
    try:
        found = list(Formatter().parse(text))
    except ValueError as error:
        raise ConditionError(str(error), "text with values in braces, such as {orders(60)}", 1) from error
    for literal, name, form, conversion in found:
        pieces.append(lambda facts, day, literal=literal: literal)  # type: ignore[misc]
        if name is None:
            continue
        if form or conversion:
            raise ConditionError(f"{{{name}…}} with a format", "a plain value in braces", text.find(name) + 1)
        pieces.append(_value_in(name.strip(), words, others, calendar))
    return lambda facts, day: "".join([piece(facts, day) for piece in pieces])[:MAX_LENGTH]


def _value_in(text: str, words: Words, others: Others, calendar: Calendar) -> Say:
    if text == "thresholds":
        return lambda facts, day: str(facts.rfm.thresholds_version)
    if text.startswith("date(") and text.endswith(")"):
        moments = tuple(moment.strip() for moment in text[5:-1].split(","))
        for moment in moments:
            if moment not in MOMENTS:
                raise ConditionError(f"the moment {moment}{near(moment, MOMENTS)}", f"one of {', '.join(MOMENTS)}", 1)
        return lambda facts, day: _date(facts.latest(moments), calendar)
    value = number(parse_value(text, words), others)
    return lambda facts, day: spell_number(value(facts, day))


def spell_number(value: object) -> str:
    """12, 12.5, never 12.0; true, not True; what is not there is unknown."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(spell_number, value))
    if isinstance(value, float):
        if not isfinite(value):
            return "unknown"
        return str(int(value)) if value == int(value) else f"{value:.2f}"
    return "unknown" if value is None else str(value)


def _date(day: float, calendar: Calendar) -> str:
    return calendar.text(int(day)) if day == day else "unknown"


def _parts(condition: Condition, others: Others, calendar: Calendar) -> Callable[[Facts, int], list[str]]:
    if isinstance(condition, All | Any):
        inner = [(_parts(part, others, calendar), holds(part, others)) for part in condition.of]
        return lambda facts, day: [
            word for words, is_true in inner if is_true(facts, day) for word in words(facts, day)
        ]
    say = _atom(condition, others, calendar)
    return lambda facts, day: [say(facts, day)]


def _atom(atom: Condition, others: Others, calendar: Calendar) -> Say:
    if isinstance(atom, Compare):
        left, limit = atom.left, atom.right
        if isinstance(left, Since) and not left.events and len(left.moments) == 1:
            moment, said = left.moments[0], MOMENTS[left.moments[0]]
            return lambda facts, day: (
                f"{day - facts.day(moment):.0f} days since {said} on {_date(facts.day(moment), calendar)}"
            )
        if isinstance(left, Score) and left.name == "r":
            return _recency
        left_of = number(left, others)
        if isinstance(left, Percentile):
            return lambda facts, day: (
                f"{PERCENTILES[left.of]} above {spell_number(left_of(facts, day))} % of the buyers"
                f" (thresholds {facts.rfm.thresholds_version})"
            )
        if isinstance(left, MonthsFalling):
            return lambda facts, day: (
                f"{_label(left.name)} fell {spell_number(left_of(facts, day))} calendar months in a row"
            )
        if isinstance(left, Trait) and isinstance(limit, Constant) and atom.sign == "==":
            return lambda facts, day: f"{spell(left)} is {spell(limit)}"
        right_of = number(limit, others)
        return lambda facts, day: (
            f"{_noun(left, spell_number(left_of(facts, day)))}"
            f" ({_SAID[atom.sign]} {spell_number(right_of(facts, day))})"
        )
    if isinstance(atom, OneOf):
        value_of = number(atom.value, others)
        return lambda facts, day: f"{spell(atom.value)} is {spell_number(value_of(facts, day))}"
    if isinstance(atom, Contains):
        return lambda facts, day: f"{spell(atom.trait)} has {spell_number(atom.item)}"
    if isinstance(atom, Trait):
        return lambda facts, day: f"trait {atom.name} is known"
    if isinstance(atom, Tag):
        return lambda facts, day: f"tag {atom.name}"
    if isinstance(atom, After):
        return lambda facts, day: (
            f"{MOMENTS[atom.later].removeprefix('the ')} on {_date(facts.day(atom.later), calendar)},"
            f" after {MOMENTS[atom.earlier]}"
        )
    return lambda facts, day: "the opposite of another condition"


def _recency(facts: Facts, day: int) -> str:
    r, before = facts.scores(day)[0], facts.scores(day - 1)[0]
    told = f"R fell from {before:.0f} to {r:.0f}" if before > r else f"R is {r:.0f}"
    days, version = day - facts.day("purchase"), facts.rfm.thresholds_version
    return f"{told}: {days:.0f} days since the last purchase (thresholds {version})"


def _noun(value: Value, amount: str) -> str:
    if isinstance(value, Window):
        return f"{amount} {_label(value.name)} {f'in {value.days} days' if value.days else 'ever'}"
    return f"{spell(value)} is {amount}"


def _label(name: str) -> str:
    """How a sum reads behind its number."""
    if name == SPEND:
        return "net spend"
    return "purchases" if name == "orders" else name.replace("_", " ") if name not in BUILT_IN else name


def spell(value: Value) -> str:
    """A value as a person would write it."""
    if isinstance(value, Constant):
        return spell_number(value.value)
    if isinstance(value, Window):
        return f"{_label(value.name)} {f'in {value.days} days' if value.days else 'ever'}"
    if isinstance(value, Since):
        return f"days since {' or '.join([*value.moments, *value.events])}"
    if isinstance(value, Score):
        return SCORES[value.name]
    if isinstance(value, Percentile):
        return f"percentile of {PERCENTILES[value.of]}"
    if isinstance(value, Trait):
        return f"trait {value.name}"
    if isinstance(value, Arithmetic):
        return f"{spell(value.left)} {value.sign} {spell(value.right)}"
    return "stage" if isinstance(value, Stage) else f"months of falling {_label(value.name)}"
