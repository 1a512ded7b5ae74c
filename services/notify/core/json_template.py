"""JSON templates: a document whose strings are templates, filled leaf by leaf, so that no value can break out.

All leaves that are one `{{ expression }}` are evaluated together, as one list: a context of its own for each of them
was half the cost of planning a webhook.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from jinja2 import TemplateError, Undefined

from services.notify.core.filters import RenderError
from services.notify.core.render import (
    RUNTIME_ERRORS,
    Compiled,
    Context,
    TemplateMistake,
    check_length,
    compile_text,
    guard_expression,
    join_expressions,
)


def compile_json(source: str, name: str) -> Compiled:
    """A JSON template; a string that is one `{{ expression }}` keeps the value's type. Raises TemplateMistake.

    The result renders a context to JSON text and raises RenderError.
    """
    try:
        document = json.loads(source)
    except ValueError as error:
        raise TemplateMistake(f"{name}: not JSON: {error}") from error
    leaves: list[tuple[str, str]] = []
    fill = _compile_node(document, name, leaves)
    names = [leaf for leaf, _ in leaves]
    evaluate = join_expressions([expression for _, expression in leaves])

    def render(context: Context) -> str:
        try:
            values = evaluate(**context)
            for leaf, value in zip(names, values, strict=True):
                if isinstance(value, Undefined):
                    raise RenderError(f"{leaf}: {value._undefined_name} is not defined")
            text = json.dumps(fill(context, iter(values)), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (TemplateError, *RUNTIME_ERRORS) as error:
            raise RenderError(f"{name}: {error}") from error
        return check_length(text, name)

    return render


_Fill = Callable[[Context, Iterator[Any]], Any]


def _compile_node(node: Any, name: str, leaves: list[tuple[str, str]]) -> _Fill:
    """A function that fills this node, taking expressions' values in the order in which `leaves` got them."""
    if isinstance(node, dict):
        fields = {key: _compile_node(value, f"{name}#{key}", leaves) for key, value in node.items()}
        return lambda context, values: {key: fill(context, values) for key, fill in fields.items()}
    if isinstance(node, list):
        items = [_compile_node(value, f"{name}[{index}]", leaves) for index, value in enumerate(node)]
        return lambda context, values: [fill(context, values) for fill in items]
    if not isinstance(node, str):
        return lambda context, values: node
    expression = guard_expression(node, name)
    if expression is not None:
        leaves.append((name, expression))
        return lambda context, values: next(values)
    text = compile_text(node, name, "text")
    return lambda context, values: text(context)
