"""Text → condition. The grammar is Python's for and, or, not, comparisons, + - * / and calls; nothing else is taken.

Python's own parser reads it, which knows every corner of precedence; what it returns is looked at node by node, and a
node that is not named here is refused.
"""

import ast
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches

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
)
from services.profile.core.tagging.vocabulary import (
    BUILT_IN,
    INTERACTIONS,
    MAX_DAYS,
    MOMENTS,
    PERCENTILES,
    SCORES,
    SPEND,
    STAGES,
    Words,
)

_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
# A person reads it; a longer one was made by a machine and would slow every event of every customer.
MAX_LENGTH = 1_000
# Deeper, Python's own limits (parentheses, recursion) are near, and no person can follow.
MAX_DEPTH = 40
# As many days are still within 64 bits of ms, and no sum of an event count or of money needs more.
MAX_NUMBER = 100_000_000_000
_BREAKS = re.compile(r"[\r\n\t\f]")


class ConditionError(ValueError):
    """The text is no condition; it says where (column from 1), what was found and what was expected."""

    def __init__(self, found: str, expected: str, column: int) -> None:
        super().__init__(f"column {column}: {found}, expected {expected}")
        self.column = column


def parse_condition(text: str, words: Words) -> Condition:
    """The condition of a text. Raises ConditionError."""
    return _Reader(text, words).condition(expression(text, MAX_LENGTH, "a condition such as orders(60) >= 2"))


def parse_value(text: str, words: Words) -> Value:
    """The value of a text such as `orders(60)`. Raises ConditionError."""
    return _Reader(text, words).value(expression(text, MAX_LENGTH, "a value such as orders(60)"))


def near(name: str, known: Iterable[str]) -> str:
    """What the writer may have meant."""
    close = get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def expression(text: str, longest: int, expected: str) -> ast.expr:
    """What Python's parser makes of a text, not yet looked at. Columns are those of `one_line(text)`."""
    if len(text) > longest:
        raise ConditionError(f"{len(text)} characters", f"at most {longest}", 1)
    line = one_line(text)
    try:
        node = ast.parse(line, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # Of a text that ends too early Python names no column.
        column = getattr(error, "offset", None) or len(line) + 1
        raise ConditionError(f"{getattr(error, 'msg', error)}", expected, column) from error
    level, depth = [node], 0
    while level := [child for one in level for child in ast.iter_child_nodes(one) if isinstance(child, ast.expr)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ConditionError(f"more than {MAX_DEPTH} levels of nesting", expected, 1)
    # All that may follow what was read is its parentheses. A comment would swallow the lines behind it.
    rest = line.encode()[node.end_col_offset :].decode()
    if "#" in rest:
        raise ConditionError("a comment", f"{expected} alone", len(line) - len(rest) + rest.index("#") + 1)
    return node


def one_line(text: str) -> str:
    """The text without line breaks; what stands in quotes keeps its spaces."""
    return _BREAKS.sub(" ", text).strip()


def _bool(value: bool) -> str:
    return str(value).lower()


def column_of(node: ast.AST, text: str) -> int:
    """The column in characters, from 1; Python counts bytes."""
    return len(one_line(text).encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore")) + 1


class _Reader:
    """Looks at the nodes of one text."""

    def __init__(self, text: str, words: Words) -> None:
        self._text_read, self._words = text, words

    def _wrong(self, node: ast.AST, found: str, expected: str) -> ConditionError:
        return ConditionError(found, expected, column_of(node, self._text_read))

    def condition(self, node: ast.expr) -> Condition:
        """A node where something true or false belongs."""
        if isinstance(node, ast.BoolOp):
            parts = tuple(self.condition(value) for value in node.values)
            return All(parts) if isinstance(node.op, ast.And) else Any(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Not(self.condition(node.operand))
        if isinstance(node, ast.Compare):
            return self._comparisons(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            known: dict[str, Callable[[ast.Call], Condition]] = {
                "tag": self._tag, "has_trait": self._has_trait, "after": self._after,
            }  # fmt: skip
            if node.func.id in known:
                return known[node.func.id](node)
            if node.func.id == "trait":
                name = ast.unparse(node)
                raise self._wrong(node, f"`{name}`", f"what it is to be: {name} == true, has_{name}")
        raise self._wrong(node, f"`{ast.unparse(node)}`", "something true or false: a comparison, tag(), has_trait()")

    def _comparisons(self, node: ast.Compare) -> Condition:
        """a < b <= c is both."""
        found: list[Condition] = []
        left = node.left
        for sign, right in zip(node.ops, node.comparators, strict=True):
            found.append(self._comparison(node, left, sign, right))
            left = right
        return found[0] if len(found) == 1 else All(tuple(found))

    def _comparison(self, node: ast.Compare, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> Condition:
        if isinstance(sign, ast.In | ast.NotIn):
            one = self._membership(node, left, right)
            return one if isinstance(sign, ast.In) else Not(one)
        if type(sign) not in _SIGNS:
            raise self._wrong(node, "this comparison", "< <= > >= == != in")
        first, second, text = self.value(left), self.value(right), _SIGNS[type(sign)]
        if isinstance(first, Constant):
            first, second, text = second, first, _TURNED[text]
        if isinstance(first, Constant):
            raise self._wrong(node, "a comparison of two constants", "a value of the customer on one side")
        if isinstance(second, Constant):
            self._check_kinds(node, first, (second.value,))
            if isinstance(second.value, str | bool) and text not in ("==", "!="):
                kind = "a text" if isinstance(second.value, str) else "true or false"
                raise self._wrong(node, f"{kind} behind {text}", "== or !=")
        elif isinstance(first, Stage) or isinstance(second, Stage):
            raise self._wrong(node, f"`{ast.unparse(node)}`", 'the stage and a name in quotes: stage == "loyal"')
        return Compare(text, first, second)

    def _membership(self, node: ast.expr, left: ast.expr, right: ast.expr) -> OneOf | Contains:
        """A value in a list that stands there, or an item in a trait that is a list."""
        if isinstance(right, ast.Call) and isinstance(right.func, ast.Name) and right.func.id == "trait":
            trait = self.value(right)
            assert isinstance(trait, Trait)
            return Contains(trait, self._constant(left))
        one = OneOf(self.value(left), self._options(right))
        self._check_kinds(node, one.value, one.options)
        return one

    def _check_kinds(self, node: ast.expr, value: Value, options: Iterable[float | str | bool]) -> None:
        """Numbers are compared with numbers, the stage with stages; a trait may be anything."""
        for option in options:
            if isinstance(value, Stage):
                if option not in STAGES:
                    meant = near(option, STAGES) if isinstance(option, str) else ""
                    raise self._wrong(node, f"stage {option!r}{meant}", f"one of {', '.join(STAGES)}")
            elif not isinstance(value, Trait) and isinstance(option, str | bool):
                raise self._wrong(
                    node, f"the text {option!r}" if isinstance(option, str) else _bool(option), "a number"
                )

    def _options(self, node: ast.expr) -> tuple[float | str | bool, ...]:
        if isinstance(node, ast.List | ast.Tuple | ast.Set) and node.elts:
            return tuple(self._constant(item) for item in node.elts)
        raise self._wrong(node, f"`{ast.unparse(node)}`", 'a list such as ["a", "b"] or trait("name") behind in')

    def _constant(self, node: ast.expr) -> float | str | bool:
        found = self.value(node)
        if isinstance(found, Constant):
            return found.value
        raise self._wrong(node, f"`{ast.unparse(node)}`", "a number, true, false or a text in quotes")

    def value(self, node: ast.expr) -> Value:
        """A node where a number or a text belongs."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            if isinstance(node.value, int | float) and not abs(node.value) <= MAX_NUMBER:
                raise self._wrong(node, "a number beyond all bounds", f"at most {MAX_NUMBER}")
            if isinstance(node.value, bool):
                raise self._wrong(node, f"`{node.value}`", f"{_bool(node.value)} in small letters")
            return Constant(node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            found = self.value(node.operand)
            if isinstance(found, Constant) and not isinstance(found.value, str | bool):
                return Constant(-found.value)
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return Arithmetic(_OPERATORS[type(node.op)], self._number(node.left), self._number(node.right))
        elif isinstance(node, ast.Name):
            return self._name(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._call(node, node.func.id)
        raise self._wrong(node, f"`{ast.unparse(node)}`", "a number, a text in quotes, or a word such as orders(60)")

    def _number(self, node: ast.expr) -> Value:
        found = self.value(node)
        if isinstance(found, Trait | Stage) or (isinstance(found, Constant) and isinstance(found.value, str | bool)):
            raise self._wrong(node, f"`{ast.unparse(node)}` in a calculation", "a number")
        return found

    def _name(self, node: ast.Name) -> Value:
        if node.id in ("true", "false"):
            return Constant(node.id == "true")
        if node.id in SCORES:
            return Score(node.id)
        if node.id == "stage":
            if not self._words.has_stage:
                raise self._wrong(node, "stage in the condition of a stage", "a condition without it")
            return Stage()
        called = {*BUILT_IN, *self._words.counters}
        if node.id in called:
            raise self._wrong(node, f"{node.id} without days", f"{node.id}(60) for 60 days or {node.id}() for ever")
        known = [*SCORES, "stage", *called]
        raise self._wrong(node, f"the word {node.id}{near(node.id, known)}", f"one of {', '.join(sorted(known))}")

    def _call(self, node: ast.Call, name: str) -> Value:
        calls: dict[str, Callable[[ast.Call], Value]] = {
            "days_since": self._since,
            "percentile": self._percentile,
            "months_falling": self._months_falling,
            "trait": lambda call: Trait(self._text(call, "the name of a trait")),
        }
        if name in calls:
            return calls[name](node)
        known = {*BUILT_IN, *self._words.counters}
        if name in known:
            counter = self._words.counters.get(name)
            return Window(name, self._days(node), name != SPEND and not (counter and counter.sum))
        listed = [*known, *calls, "tag", "has_trait", "after"]
        raise self._wrong(node, f"the word {name}(){near(name, listed)}", f"one of {', '.join(sorted(listed))}")

    def _days(self, node: ast.Call) -> int:
        if not node.args and not node.keywords:
            return 0
        expected = f"days from 1 to {MAX_DAYS}, or nothing for ever"
        if len(node.args) != 1 or node.keywords:
            raise self._wrong(node, f"`{ast.unparse(node)}`", expected)
        days = self._constant(node.args[0])
        if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= MAX_DAYS:
            raise self._wrong(node, f"{days!r} days", expected)
        return days

    def _since(self, node: ast.Call) -> Since:
        moments, events = [], []
        for item in node.args:
            if isinstance(item, ast.Name):
                moments.append(self._moment(item))
            else:
                event = self._constant(item)
                if not isinstance(event, str):
                    raise self._wrong(item, f"{event!r}", "a moment or the name of an event in quotes")
                events.append(event)
        if node.keywords or not (moments or events):
            raise self._wrong(node, f"`{ast.unparse(node)}`", "days_since(purchase) or days_since('Logged In')")
        return Since(tuple(moments), tuple(events))

    def _moment(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name) and node.id in MOMENTS:
            return node.id
        name = node.id if isinstance(node, ast.Name) else ast.unparse(node)
        raise self._wrong(node, f"the moment {name}{near(name, MOMENTS)}", f"one of {', '.join(MOMENTS)}")

    def _percentile(self, node: ast.Call) -> Percentile:
        names = [item.id for item in node.args if isinstance(item, ast.Name)]
        if len(node.args) != 1 or len(names) != 1 or names[0] not in PERCENTILES or node.keywords:
            raise self._wrong(node, f"`{ast.unparse(node)}`", f"percentile of one of {', '.join(PERCENTILES)}")
        return Percentile(names[0])

    def _months_falling(self, node: ast.Call) -> MonthsFalling:
        names = [item.id for item in node.args if isinstance(item, ast.Name)]
        known = {*BUILT_IN, *self._words.counters} - {SPEND}
        if len(node.args) != 1 or len(names) != 1 or names[0] not in known or node.keywords:
            raise self._wrong(node, f"`{ast.unparse(node)}`", f"months_falling({INTERACTIONS}) or of a counter")
        return MonthsFalling(names[0])

    def _text(self, node: ast.Call, expected: str) -> str:
        if len(node.args) == 1 and not node.keywords:
            text = self._constant(node.args[0])
            if isinstance(text, str) and text:
                return text
        raise self._wrong(node, f"`{ast.unparse(node)}`", f"{expected} in quotes")

    def _tag(self, node: ast.Call) -> Tag:
        name = self._text(node, "the name of a tag")
        if name not in self._words.tags:
            known = sorted(self._words.tags)
            raise self._wrong(node, f"tag {name!r}{near(name, known)}", f"one of {', '.join(known)}")
        return Tag(name)

    def _has_trait(self, node: ast.Call) -> Trait:
        return Trait(self._text(node, "the name of a trait"), asked=True)

    def _after(self, node: ast.Call) -> After:
        if len(node.args) != 2 or node.keywords:
            raise self._wrong(node, f"`{ast.unparse(node)}`", "two moments, e.g. after(interaction, first_purchase)")
        return After(self._moment(node.args[0]), self._moment(node.args[1]))
