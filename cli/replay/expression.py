"""Expressions of a mapping: columns, exact decimals, comparisons and a few functions; compiled once per file.

The syntax is the part of Python's expressions that `_Compiler` names; everything else is refused by name. Nothing is
ever evaluated by Python itself, so a mapping file cannot run code.
"""

import ast
import operator
import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from cli.replay.functions import FUNCTIONS
from cli.replay.typed import ExpressionError, Kind, Typed, Wanted, as_number_of, as_text_of
from cli.replay.values import EXACT, ROUNDED, Compute, LineError

# (path of names) → how to read it from a row. Raises KeyError with a hint when the file has no such column.
ColumnOf = Callable[[tuple[str, ...]], Compute]
MAX_CHARS = 1_000


class _Operator(NamedTuple):
    sign: str
    apply: Callable[[Any, Any], Any]


_ARITHMETIC: dict[type[ast.operator], _Operator] = {
    ast.Add: _Operator("+", EXACT.add),
    ast.Sub: _Operator("-", EXACT.subtract),
    ast.Mult: _Operator("*", EXACT.multiply),
    ast.Div: _Operator("/", ROUNDED.divide),
}
_COMPARE: dict[type[ast.cmpop], _Operator] = {
    ast.Eq: _Operator("==", operator.eq),
    ast.NotEq: _Operator("!=", operator.ne),
    ast.Lt: _Operator("<", operator.lt),
    ast.LtE: _Operator("<=", operator.le),
    ast.Gt: _Operator(">", operator.gt),
    ast.GtE: _Operator(">=", operator.ge),
}


def compile_expression(text: str, column_of: ColumnOf, wanted: Wanted = Wanted.VALUE) -> Compute:
    """A function of a row. Raises ExpressionError; the function raises LineError for a row it cannot work on."""
    if len(text) > MAX_CHARS:
        raise ExpressionError(f"{len(text)} characters", f"at most {MAX_CHARS}")
    try:
        # In brackets, a text over several lines is one expression.
        with warnings.catch_warnings():
            # A regular expression may say "\\d"; Python would warn of an unknown escape and keep it.
            warnings.simplefilter("ignore")
            tree = ast.parse(f"({text}\n)", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        offset = max(0, (getattr(error, "offset", None) or 2) - 2)
        raise ExpressionError(
            f"no expression ({getattr(error, 'msg', error)})", "e.g. Quantity * UnitPrice", offset
        ) from None
    typed = _Compiler(text, column_of).build(tree)
    if wanted is Wanted.CONDITION and typed.kind is not Kind.CONDITION:
        raise ExpressionError(f"`{text}`", Wanted.CONDITION.value)
    if wanted is Wanted.NUMBER:
        return as_number_of(typed)
    return typed.compute


class _Compiler:
    def __init__(self, text: str, column_of: ColumnOf) -> None:
        self._text = text
        self._column_of = column_of

    def build(self, node: ast.expr) -> Typed:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise self._wrong(
                node, f"{type(node).__name__} `{self._source(node)}`", "columns, numbers, texts, operators"
            )
        try:
            return method(node)  # type: ignore[no-any-return]
        except ExpressionError as error:
            raise (error if error.offset else self._wrong(node, error.found, error.expected)) from None

    def _source(self, node: ast.expr) -> str:
        return ast.get_source_segment(f"({self._text}\n)", node) or ""

    def _wrong(self, node: ast.expr, found: str, expected: str) -> ExpressionError:
        offset = node.col_offset - 1 if node.lineno == 1 else 0
        return ExpressionError(found, expected, offset)

    def _name(self, node: ast.Name) -> Typed:
        return self._column(node, (node.id,))

    def _attribute(self, node: ast.Attribute) -> Typed:
        names: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            names.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            raise self._wrong(node, f"`{self._source(node)}`", "a path of names such as customer.email")
        return self._column(node, (inner.id, *reversed(names)))

    def _column(self, node: ast.expr, path: tuple[str, ...]) -> Typed:
        name = ".".join(path)
        try:
            return Typed(Kind.ANY, self._column_of(path), name)
        except KeyError as error:
            raise self._wrong(node, f"no column `{name}`", str(error.args[0])) from None

    def _constant(self, node: ast.Constant) -> Typed:
        value, source = node.value, self._source(node)
        if isinstance(value, bool):
            return Typed(Kind.CONDITION, lambda row: value, source)
        if isinstance(value, int | float):
            # From the source: 0.1 as a float is another number.
            number = Decimal(source.replace("_", ""))
            return Typed(Kind.NUMBER, lambda row: number, source)
        if isinstance(value, str):
            return Typed(Kind.TEXT, lambda row: value, source, literal=value)
        raise self._wrong(node, f"`{source}`", "a number or a text in quotes")

    def _binop(self, node: ast.BinOp) -> Typed:
        sign = _ARITHMETIC.get(type(node.op))
        if sign is None:
            raise self._wrong(node, f"the operator in `{self._source(node)}`", "+ - * /")
        left, right = as_number_of(self.build(node.left)), as_number_of(self.build(node.right))
        apply, source = sign.apply, self._source(node)

        def compute(row: Any) -> Decimal:
            try:
                return apply(left(row), right(row))  # type: ignore[no-any-return]
            except ArithmeticError as error:
                raise LineError(f"{source} cannot be computed exactly ({type(error).__name__})") from error

        return Typed(Kind.NUMBER, compute, source)

    def _unaryop(self, node: ast.UnaryOp) -> Typed:
        inner, source = self.build(node.operand), self._source(node)
        if isinstance(node.op, ast.Not):
            condition = self._condition(node.operand, inner)
            return Typed(Kind.CONDITION, lambda row: not condition(row), source)
        number = as_number_of(inner)
        if isinstance(node.op, ast.USub):
            return Typed(Kind.NUMBER, lambda row: number(row).copy_negate(), source)
        if isinstance(node.op, ast.UAdd):
            return Typed(Kind.NUMBER, number, source)
        raise self._wrong(node, f"the operator in `{source}`", "- or not")

    def _boolop(self, node: ast.BoolOp) -> Typed:
        parts = tuple(self._condition(part, self.build(part)) for part in node.values)
        if isinstance(node.op, ast.And):
            return Typed(Kind.CONDITION, lambda row: all(part(row) for part in parts), self._source(node))
        return Typed(Kind.CONDITION, lambda row: any(part(row) for part in parts), self._source(node))

    def _condition(self, node: ast.expr, typed: Typed) -> Compute:
        if typed.kind is not Kind.CONDITION:
            raise self._wrong(node, f"`{typed.name}`", Wanted.CONDITION.value)
        return typed.compute

    def _compare(self, node: ast.Compare) -> Typed:
        sides = [node.left, *node.comparators]
        parts = [self._pair(node, op, sides[i], sides[i + 1]) for i, op in enumerate(node.ops)]
        if len(parts) == 1:
            return Typed(Kind.CONDITION, parts[0], self._source(node))
        return Typed(Kind.CONDITION, lambda row: all(part(row) for part in parts), self._source(node))

    def _pair(self, node: ast.Compare, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Compute:
        if isinstance(op, ast.In | ast.NotIn):
            return self._member(op, left, right)
        sign = _COMPARE.get(type(op))
        if sign is None:
            raise self._wrong(node, f"`{self._source(node)}`", "== != < <= > >= in, not in")
        one, other = self.build(left), self.build(right)
        kinds = {one.kind, other.kind}
        if Kind.NUMBER in kinds:
            return _both(sign.apply, as_number_of(one), as_number_of(other))
        if sign.sign not in ("==", "!=") and Kind.TEXT not in kinds:
            # As texts, "10" would come before "9".
            raise self._wrong(node, f"`{self._source(node)}` of two columns", "number(column) to compare numbers")
        return _both(sign.apply, as_text_of(one), as_text_of(other))

    def _member(self, op: ast.In | ast.NotIn, left: ast.expr, right: ast.expr) -> Compute:
        if not isinstance(right, ast.Tuple | ast.List) or not right.elts:
            raise self._wrong(right, f"`{self._source(right)}`", 'a list of texts such as ["A", "B"]')
        texts = [self.build(item).literal for item in right.elts]
        if None in texts:
            raise self._wrong(right, f"`{self._source(right)}`", "texts in quotes only")
        known, value = frozenset(texts), as_text_of(self.build(left))
        if isinstance(op, ast.In):
            return lambda row: value(row) in known
        return lambda row: value(row) not in known

    def _call(self, node: ast.Call) -> Typed:
        name = node.func.id if isinstance(node.func, ast.Name) else self._source(node.func)
        if node.keywords or any(isinstance(item, ast.Starred) for item in node.args):
            raise self._wrong(node, f"`{self._source(node)}`", "values only between the brackets")
        if name == "column":
            literal = self.build(node.args[0]).literal if len(node.args) == 1 else None
            if literal is None:
                raise self._wrong(node, f"`{self._source(node)}`", 'column("Unit Price")')
            return self._column(node, (literal,))
        function = FUNCTIONS.get(name)
        if function is None:
            raise self._wrong(node, f"no function `{name}`", f"one of column, {', '.join(FUNCTIONS)}")
        arguments = [self.build(item) for item in node.args]
        if len(arguments) not in function.arity:
            raise self._wrong(node, f"{len(arguments)} values in `{self._source(node)}`", function.usage)
        try:
            return function.build(arguments, self._source(node))
        except ValueError as error:
            raise self._wrong(node, f"`{self._source(node)}` ({error})", function.usage) from None


def _both(apply: Callable[[Any, Any], Any], left: Compute, right: Compute) -> Compute:
    return lambda row: apply(left(row), right(row))
