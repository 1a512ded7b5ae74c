"""Is a CEL expression right? Everything that can be said when the rule is checked, before any customer meets it."""

import re
from datetime import UTC, datetime
from typing import Any

import cel

from services.rules.core.cel_source import Mentions, scan

# Far beyond any readable condition. The parser has its own limit on depth; this one bounds its time.
MAX_LENGTH = 2_000
# What the CEL library raises while evaluating, by its own documentation and our tests of it.
CEL_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_SYNTAX = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*)")
_WANTED_ARGUMENT = {
    "duration": 'a duration such as "720h" or "90m"',
    "timestamp": 'an RFC 3339 time such as "2026-01-31T08:00:00Z"',
    "matches": "a regular expression (RE2 syntax)",
}

# (line from 1, column from 1, found, expected)
CelMistake = tuple[int, int, str, str]


class ConditionRefused(Exception):  # noqa: N818
    """The expression is wrong; `mistakes` says where and how."""

    def __init__(self, mistakes: list[CelMistake]) -> None:
        super().__init__("; ".join(f"{line}:{column}: found {found}" for line, column, found, _ in mistakes))
        self.mistakes = mistakes


def check(text: str) -> tuple[cel.Program, Mentions]:
    """The compiled expression and what it mentions. Raises ConditionRefused with everything that is wrong."""
    program = _compile(text)
    mentions = scan(text)
    mistakes: list[CelMistake] = [
        (*_place(text, at), f"`{found}`", expected) for at, found, expected in mentions.problems
    ]
    mistakes += _constant_mistakes(text, mentions)
    mistakes = mistakes or _sample_mistakes(program, mentions)
    if mistakes:
        raise ConditionRefused(sorted(mistakes))
    return program, mentions


def _compile(text: str) -> cel.Program:
    if len(text) > MAX_LENGTH:
        raise ConditionRefused([(1, 1, f"{len(text)} characters", f"at most {MAX_LENGTH}")])
    try:
        return cel.compile(text)
    except ValueError as error:
        match = _SYNTAX.search(str(error))
        if match is None:
            raise ConditionRefused([(1, 1, "what is no CEL", "a CEL expression")]) from None
    problem = match[3].split(" expecting ")[0].removeprefix("mismatched input ").replace("'<EOF>'", "its end")
    if "Recursion limit" in problem:
        problem = "more than 96 levels of nesting"
    raise ConditionRefused([(int(match[1]), int(match[2]), problem, "a complete CEL expression")])


def _place(text: str, at: int) -> tuple[int, int]:
    """Offset → (line, column), both from 1."""
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def _constant_mistakes(text: str, mentions: Mentions) -> list[CelMistake]:
    """duration("30d"), timestamp("noon"), matches("("): the argument is written down, so it can be tried now."""
    mistakes = []
    for at, function, argument in mentions.constant_calls:
        call = f"{function}({argument})"
        try:
            cel.evaluate(f'"".{call}' if function == "matches" else call)
        except CEL_ERRORS:
            mistakes.append((*_place(text, at), f"`{call}`", _WANTED_ARGUMENT[function]))
    return mistakes


def _sample_mistakes(program: cel.Program, mentions: Mentions) -> list[CelMistake]:
    """Types are known only when values are there: try a rich and a poor customer. What may be absent is not judged."""
    for context in (_sample(mentions.literals, 3), _sample([], 0)):
        try:
            result = program.execute(context)
        except TypeError:
            return [(1, 1, "values whose types do not go together", "numbers with numbers, texts with texts …")]
        except CEL_ERRORS as error:
            if isinstance(error, RuntimeError) and str(error).startswith("Undefined"):
                called = str(error).split("'")[1]
                return [(1, 1, f"`{called}` on values it is not made for", "arguments of a type it accepts")]
            continue
        if not isinstance(result, bool):
            return [(1, 1, f"a result of type {type(result).__name__}", "an expression that is true or false")]
    return []


def _sample(names: list[str], number: int) -> dict[str, Any]:
    moment = datetime(2026, 1, 31, 8, tzinfo=UTC)
    numbers = ("recency_days", "frequency", "monetary_minor", "r", "f", "m", "composite", "thresholds_version")
    profile = {
        "customer_id": "",
        "traits": {},
        "stage": "loyal",
        "rfm": {**dict.fromkeys(numbers, number), "currency": "CNY"},
        "first_seen": moment,
        "last_seen": moment,
        "stage_since": moment,
        "tags": {name: {"since": moment, "reason": ""} for name in names},
        "counts": dict.fromkeys(names, number),
    }
    event = {"id": "", "type": "track", "name": "", "source": "", "first": True, "properties": {}}
    return {"profile": profile, "event": {**event, "occurred_at": moment, "accepted_at": moment}, "now": moment}
