"""Conditions → functions of (Facts, day). Python code is made once, when definitions are read, and run for every event.

Walking the tree for every event would cost ten times as much. The code is made only from trees, never from what people
wrote: names stand in it as quoted constants.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import cast

from services.profile.core.rfm import NEVER
from services.profile.core.tagging.facts import KNOWN_DAYS, Facts
from services.profile.core.tagging.tree import (
    After,
    All,
    Any,
    Arithmetic,
    Atom,
    Compare,
    Condition,
    Constant,
    Contains,
    MonthsFalling,
    Not,
    OneOf,
    Percentile,
    Score,
    Since,
    Stage,
    Tag,
    Trait,
    Value,
    Window,
    atoms,
    values_of,
)
from services.profile.core.tagging.vocabulary import INTERACTIONS, ORDERS, SPEND

Holds = Callable[[Facts, int], bool]
NextDay = Callable[[Facts, int], int]
Number = Callable[[Facts, int], float | str | None]
JudgeAll = Callable[[Facts, int, Mapping[str, object], bool], tuple[str, list[int]]]
# What costs little and is asked by many conditions: days of moments, orders, scores, percentiles.
_CHEAP = re.compile(
    r"f\.[a-z_]+_day\b|f\.events\b|f\.day\('[a-z_]+'\)|f\.sum\('orders', \d+, t\)|f\.scores\(t\)\[\d\]"
    r"|f\.percentile\('[a-z_]+', t\)|f\.score_change\(t\)"
)
_SCORES = {"r": "f.scores(t)[0]", "f": "f.scores(t)[1]", "m": "f.scores(t)[2]", "composite": "f.composite(t)"}


@dataclass(frozen=True, slots=True)
class Others:
    """What conditions that name the stage or other tags ask: by name, as of a day."""

    stage: Callable[[Facts, int], str]
    stage_next: NextDay
    tag: Callable[[str, Facts, int], bool]
    tag_next: Callable[[str, Facts, int], int]


def holds(condition: Condition, others: Others) -> Holds:
    """Whether the condition holds on day t, if nothing happens until then."""
    return cast(Holds, _function(f"return {_truth(condition)}", others))


def number(value: Value, others: Others) -> Number:
    """The value on day t."""
    return cast(Number, _function(f"return {_value(value, 'trait')}", others))


@dataclass(frozen=True, slots=True)
class Judged:
    """A tag as judge_all needs it; `waits`: whether it looks at measures, which may not be complete."""

    name: str
    condition: Condition | bool
    ends: Condition | bool | None
    waits: bool


def judge_all(
    stages: Iterable[tuple[str, Condition | bool | None]],
    tags: Sequence[Judged],
    others: Others,
    stage_waits: bool,
) -> JudgeAll:
    """The stage, and the places of the tags that hold, in one function: what several conditions ask is asked once.

    The function takes facts, day, the tags that were held and whether measures are missing: what looks at them stays
    as it was. Tags stand behind those they name. stage_waits: a stage looks at measures; `f.stage` is what it was, ""
    when there was none.
    """
    text = "stage = f.stage if missing and f.stage else " if stage_waits else "stage = "
    for name, condition in stages:
        if condition is None or condition is True:
            text += repr(name)
            break
        text += f"{name!r} if {_truth(condition)} else " if condition is not False else ""
    lines, names = [text, "found = []"], dict[str, str]()
    for place, tag in enumerate(tags):
        text = _held(tag)
        if text != "False":
            lines += [f"{(name := f'h{place}')} = {text}", f"if {name}: found.append({place})"]
            names[tag.name] = name
    body = "\n    ".join([*lines, "return stage, found"]).replace("others.stage(f, t)", "stage")
    for tag in tags:
        body = body.replace(f"others.tag({tag.name!r}, f, t)", names.get(tag.name, "False"))
    return cast(JudgeAll, _function(_asked_once(body), others, "f, t, prior, missing"))


def _held(tag: Judged) -> str:
    """Code that says whether a tag is held: as its condition says, or still, or as it was."""
    text, is_prior = _truth(tag.condition), f"{tag.name!r} in prior"
    if tag.ends is False:
        text = f"{text} or {is_prior}"
    elif tag.ends is not None and tag.ends is not True:
        text = f"{text} or ({is_prior} and not {_truth(tag.ends)})"
    return f"({is_prior}) if missing else ({text})" if tag.waits else text


def next_day(conditions: Iterable[tuple[Condition, str]], others: Others, are_all: bool = False) -> NextDay:
    """The first day later than t on which time alone may change what one of the conditions says; NEVER: none.

    Each with the name of the tag whose holding it matters to, "" when it always does. Never too late; too early where
    several days would have to come together. are_all: the stages and tags that they name are among them.
    """
    found: dict[str, list[str]] = {}
    for condition, tag in conditions:
        guards = [code for code in (f"{tag!r} in f.held" if tag else "", _possible(condition)) if code]
        for atom in atoms(condition):
            for day in _days(atom):
                if are_all and day.startswith("others."):
                    continue
                found.setdefault(day, []).append(" and ".join(guards))
    lines = [f"best = {NEVER}"]
    for day, texts in found.items():
        look = [f"day = {day}", "if t < day < best: best = day"]
        if "" in texts:
            lines += look
        else:
            lines += [f"if {' or '.join(dict.fromkeys(texts))}:", *(f"    {line}" for line in look)]
    return cast(NextDay, _function(_asked_once("\n    ".join([*lines, "return best"])), others))


def _asked_once(body: str) -> str:
    """The body with what it asks several times asked once, at its beginning."""
    asked = [code for code in dict.fromkeys(_CHEAP.findall(body)) if body.count(code) > 1]
    for place, code in enumerate(asked):
        body = body.replace(code, f"v{place}")
    return "\n    ".join([*(f"v{place} = {code}" for place, code in enumerate(asked)), body])


def _possible(condition: Condition) -> str:
    """Code that is false only where time alone cannot make the condition true; "" where it always may.

    Sums over days fall when nothing happens, and with them scores and percentiles, unless a refund of no order leaves
    the window.
    """
    if isinstance(condition, All):
        found = [code for part in condition.of if (code := _possible(part))]
        return " and ".join(dict.fromkeys(found))
    if isinstance(condition, Any):
        found = [_possible(part) for part in condition.of]
        return "" if "" in found else f"({' or '.join(f'({code})' for code in dict.fromkeys(found))})"
    if isinstance(condition, Compare) and condition.sign in (">", ">=") and isinstance(condition.right, Constant):
        left = condition.left
        if isinstance(left, Window) and left.name != SPEND:
            return _truth(condition)
        if isinstance(left, Score | Percentile):
            return f"({_truth(condition)} or f.may_rise)"
    return ""


def passing(sign: str, limit: float) -> list[int]:
    """The whole numbers at which a comparison with a limit says something else than just below."""
    after, at = floor(limit) + 1, ceil(limit)
    return {">": [after], "<=": [after], ">=": [at], "<": [at]}.get(sign, sorted({at, after}))


def _function(body: str, others: Others, arguments: str = "f, t") -> Callable[..., object]:
    names: dict[str, object] = {"others": others, "__builtins__": {"isinstance": isinstance, "str": str}}
    # What runs here was written by this module from a checked tree.
    exec(f"def made({arguments}):\n    {body}\n", names)
    return cast(Callable[..., object], names["made"])


def _truth(condition: Condition | bool) -> str:
    if isinstance(condition, bool):
        return str(condition)
    if isinstance(condition, Not):
        return f"(not {_truth(condition.of)})"
    if isinstance(condition, All | Any):
        word = " and " if isinstance(condition, All) else " or "
        return f"({word.join(_truth(part) for part in condition.of)})"
    if isinstance(condition, Compare):
        return _comparison(condition)
    if isinstance(condition, OneOf):
        kinds: dict[str, list[str]] = {}
        for option in condition.options:
            kinds.setdefault(_read_as(option), []).append(_quoted(option))
        found = [f"{_value(condition.value, read)} in [{', '.join(some)}]" for read, some in kinds.items()]
        return f"({' or '.join(found)})"
    if isinstance(condition, Contains):
        return f"f.has({_quoted(condition.trait.name)}, {_quoted(condition.item)})"
    if isinstance(condition, Trait):
        return f"(f.trait({_quoted(condition.name)}) is not None)"
    if isinstance(condition, After):
        return f"f.after({condition.later!r}, {condition.earlier!r})"
    return f"others.tag({condition.name!r}, f, t)"


def _comparison(compare: Compare) -> str:
    sides = compare.left, compare.right
    read = next((_read_as(side.value) for side in sides if isinstance(side, Constant)), "number")
    # Two traits may both be anything.
    if compare.sign in ("==", "!=") and all(isinstance(side, Trait) for side in sides):
        read = "trait"
    left, right = [_value(side, read) for side in sides]
    # NaN differs from everything, and None is equal to None: of what never was nothing is true.
    if compare.sign == "!=":
        return f"f.differ({left}, {right})"
    if read == "trait" and not any(isinstance(side, Constant) for side in sides):
        return f"f.equal({left}, {right})"
    return f"({_needed(compare)}{left} {compare.sign} {right})"


def _needed(compare: Compare) -> str:
    """Code that is false where a sum cannot be as large as the comparison wants it: of most people there is little."""
    left, right = compare.left, compare.right
    if compare.sign not in (">", ">=") or not isinstance(right, Constant) or isinstance(right.value, str):
        return ""
    (least,) = passing(compare.sign, right.value)
    if isinstance(left, Window) and left.is_count and left.name != ORDERS and least > 0:
        return f"f.events >= {least} and "
    return f"{_may_fall(left, least)} and " if isinstance(left, MonthsFalling) and least > 0 else ""


def _may_fall(value: MonthsFalling, months: int) -> str:
    """Code that is false where nothing can fall for so many months: each had something, and more than the next one."""
    return f"{'f.months' if value.name == INTERACTIONS else 'f.events'} >= {months}"


def _read_as(constant: float | str | bool) -> str:
    """How Facts reads a trait that is compared with this: what is of another kind is as if it were not there."""
    return "trait" if isinstance(constant, str) else "flag" if isinstance(constant, bool) else "number"


def _quoted(constant: float | str | bool) -> str:
    """A constant as code; without the dots by which calls are found in it (`_asked_once`)."""
    return repr(constant).replace(".", "\\x2e") if isinstance(constant, str) else repr(constant)


def _value(value: Value, read: str = "number") -> str:
    if isinstance(value, Constant):
        return _quoted(value.value)
    if isinstance(value, Window):
        return f"f.sum({value.name!r}, {value.days}, t)"
    if isinstance(value, Since):
        return f"(t - {_latest(value)})"
    if isinstance(value, Score):
        return _SCORES[value.name]
    if isinstance(value, Percentile):
        return f"f.percentile({value.of!r}, t)"
    if isinstance(value, MonthsFalling):
        return f"f.months_falling({value.name!r}, t)"
    if isinstance(value, Trait):
        return f"f.{read}({_quoted(value.name)})"
    if isinstance(value, Stage):
        return "others.stage(f, t)"
    # Division by zero is no number, as in the rest of the language: then nothing is said.
    if value.sign == "/":
        return f"f.ratio({_value(value.left)}, {_value(value.right)})"
    # As a float a product of many may be infinite; as a whole number it would be too large to divide.
    sign = "* 1.0 *" if value.sign == "*" else value.sign
    return f"({_value(value.left)} {sign} {_value(value.right)})"


def _latest(since: Since) -> str:
    days = [f"f.{name}_day" if name in KNOWN_DAYS else f"f.day({name!r})" for name in since.moments]
    if len(days) == 1 and not since.events:
        return days[0]
    if len(days) == 2 and not since.events:
        # NaN, a moment that never was, is not equal to itself and not later than anything.
        return f"({days[0]} if {days[1]} != {days[1]} or {days[0]} >= {days[1]} else {days[1]})"
    return f"f.latest({since.moments!r}, {_events(since)}, t)"


def _events(since: Since) -> str:
    return f"({''.join(f'{_quoted(event)}, ' for event in since.events)})"


def _days(atom: Atom) -> list[str]:
    """Code for the days on which an atom may change; those not later than t are passed over, NaN as well."""
    if isinstance(atom, Tag):
        return [f"others.tag_next({atom.name!r}, f, t)"]
    if isinstance(atom, Compare) and isinstance(atom.right, Constant) and not isinstance(atom.right.value, str):
        exact = _crossing(atom, atom.left, atom.right.value)
        if exact is not None:
            return exact
    return [day for value in values_of(atom) for day in _any_change(value)]


def _crossing(atom: Compare, left: Value, limit: float) -> list[str] | None:
    """The day on which a value that only time moves passes a constant; None: not known exactly."""
    if isinstance(left, Since):
        forgets = [f"f.forgotten({_events(left)}, t)"] if left.events else []
        return [f"{_latest(left)} + {number}" for number in passing(atom.sign, limit)] + forgets
    if isinstance(left, Window) and left.name != SPEND:
        if not left.days:
            return []
        return [f"f.leaves({left.name!r}, {left.days}, {number}, t)" for number in passing(atom.sign, limit)]
    if isinstance(left, MonthsFalling):
        least = min([number for number in passing(atom.sign, limit) if number > 0], default=NEVER)
        flip = f"f.months_flip({left.name!r}, lambda falls: falls {atom.sign} {limit!r}, t)"
        return [f"({flip} if {_may_fall(left, least)} else {NEVER})"]
    return None


def _any_change(value: Value) -> list[str]:
    if isinstance(value, Window):
        return [f"f.first_leaves({value.name!r}, {value.days}, t)"] if value.days else []
    if isinstance(value, Since):
        return [f"(t + 1 if {_latest(value)} <= t else {_latest(value)})"]
    if isinstance(value, Score | Percentile):
        return ["f.score_change(t)"]
    if isinstance(value, MonthsFalling):
        return [f"f.next_month({value.name!r}, t)"]
    if isinstance(value, Stage):
        return ["others.stage_next(f, t)"]
    if isinstance(value, Arithmetic):
        return [day for side in (value.left, value.right) for day in _any_change(side)]
    return []
