"""Templates: compiled once, rendered in a sandbox whose cost is bounded before it runs.

A template may loop, choose and filter; it may not call, assign, include or define anything, so its cost is at most its
size × the loop budget, and no value can be made to grow. Undefined names are errors. HTML is escaped, WeCom markdown
loses its control characters, JSON is filled leaf by leaf: a customer called `"}` or `<script>` stays a name.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import SandboxedEnvironment

from services.notify.core.filters import FILTERS, RenderError

MAX_TEMPLATE_CHARS = 64_000
MAX_OUTPUT_CHARS = 64_000  # beyond it no mail client or robot shows the message anyway
MAX_LOOP_STEPS = 2_000  # per rendering, over all loops: a few hundred tags or order lines, nested once

_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.Filter, nodes.Test, nodes.For, nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or,
    nodes.Not, nodes.Neg, nodes.Add, nodes.Sub, nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair,
    nodes.Keyword, nodes.Slice,
)  # fmt: skip
# What a template can run into because of a value's type or size.
RUNTIME_ERRORS = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError)
_BUDGET = "loop_budget__"
_EXPRESSION = re.compile(r"\s*\{\{((?:(?!\}\}).)*)\}\}\s*", re.DOTALL)
_MARKDOWN = str.maketrans(
    {"<": "＜", ">": "＞", "[": "［", "]": "］", "(": "（", ")": "）", "*": "＊", "`": "'", "_": "＿"}
    | dict.fromkeys("\r\n\t", " ")
)


class TemplateMistake(Exception):  # noqa: N818
    """A template cannot be used; the text names file, line and what is wrong."""


def neutral_markdown(value: object) -> object:
    """A value put into markdown: characters that would be markup or a mention become their full-width twins."""
    return value.translate(_MARKDOWN) if isinstance(value, str) else value


class _Budget:
    """Loop steps left in one rendering."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_LOOP_STEPS

    def walk(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.left -= 1
            if self.left < 0:
                raise RenderError(f"more than {MAX_LOOP_STEPS} loop steps")
            yield item


class _Sandbox(SandboxedEnvironment):
    """Refuses what `_ALLOWED` does not list, and puts every loop under the budget."""

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise TemplateMistake(f"{name}: {len(source)} characters, at most {MAX_TEMPLATE_CHARS}")
        tree = super()._parse(source, name, filename)
        self._guard(tree, name)
        return tree

    def _guard(self, node: nodes.Node, name: str | None) -> None:
        if not isinstance(node, _ALLOWED) or (isinstance(node, nodes.For) and node.recursive):
            what = type(node).__name__.lower()
            raise TemplateMistake(f"{name}:{node.lineno}: {what} is not allowed (no calls, sets, includes)")
        if isinstance(node, nodes.Filter) and node.name not in self.filters:
            known = ", ".join(sorted(FILTERS))
            raise TemplateMistake(f"{name}:{node.lineno}: no filter {node.name!r}; there are {known}")
        if isinstance(node, nodes.Name) and node.name == _BUDGET:
            raise TemplateMistake(f"{name}:{node.lineno}: {_BUDGET} is reserved")
        for child in node.iter_child_nodes():
            self._guard(child, name)
        if isinstance(node, nodes.For):
            budget = nodes.Getattr(nodes.Name(_BUDGET, "load"), "walk", "load")
            node.iter = nodes.Call(budget, [node.iter], [], None, None).set_lineno(node.lineno)


def _environment(autoescape: bool, finalize: Callable[[object], object] | None = None) -> SandboxedEnvironment:
    environment = _Sandbox(
        autoescape=autoescape, undefined=StrictUndefined, finalize=finalize, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters = dict(FILTERS)
    environment.globals = {}
    return environment


_TEXT = _environment(False)
_HTML = _environment(True)
_WECOM = _environment(False, neutral_markdown)

Context = Mapping[str, object]
Compiled = Callable[[Context], str]


def compile_text(source: str, name: str, kind: str) -> Compiled:
    """A template of kind text, html or md. Raises TemplateMistake with file and line.

    The result renders a context and raises RenderError (undefined name, wrong type, limit).
    """
    template = _compile({"text": _TEXT, "html": _HTML, "md": _WECOM}[kind], source, name)
    return lambda context: _run(template, context)


def guard_expression(source: str, name: str) -> str | None:
    """The expression of a text that is nothing but one `{{ expression }}`, else None. Raises TemplateMistake."""
    whole = _EXPRESSION.fullmatch(source)
    if whole is None:
        return None
    _compile(_TEXT, source, name)  # the same rules as for a whole template
    return whole[1].strip()


def join_expressions(expressions: list[str]) -> Callable[..., list[Any]]:
    """A function of a context's names that gives the values of guarded expressions, in order; undefined stays so."""
    joined = "[" + ", ".join(f"({expression})" for expression in expressions) + "]"
    return cast(Callable[..., list[Any]], _TEXT.compile_expression(joined, undefined_to_none=False))


def _compile(environment: SandboxedEnvironment, source: str, name: str) -> Template:
    try:
        environment.parse(source, name, name)
        code = environment.compile(source, name, name)
        return environment.template_class.from_code(environment, code, {})
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise TemplateMistake(f"{name}{f':{line}' if line else ''}: {error}") from error


def _run(template: Template, context: Context) -> str:
    pieces: list[str] = []
    size = 0
    try:
        for piece in template.generate({**context, _BUDGET: _Budget()}):
            size += len(piece)
            if size > MAX_OUTPUT_CHARS:
                raise RenderError(f"{template.name}: more than {MAX_OUTPUT_CHARS} characters of output")
            pieces.append(piece)
    except (TemplateError, *RUNTIME_ERRORS) as error:
        raise RenderError(f"{template.name}: {error}") from error
    return "".join(pieces)


def check_length(text: str, name: str) -> str:
    """The text itself. Raises RenderError when it is longer than a rendered part may be."""
    if len(text) > MAX_OUTPUT_CHARS:
        raise RenderError(f"{name}: more than {MAX_OUTPUT_CHARS} characters of output")
    return text
