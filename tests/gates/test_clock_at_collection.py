"""No test module reads the clock at import: minutes pass between the collection of a tier and its last test."""

import ast
from collections.abc import Iterator
from pathlib import Path

from deploy.local.settings import ROOT

READINGS = {"now_ms", "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "now", "utcnow", "today"}


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module does: everything but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            defaults = [*child.args.defaults, *(default for default in child.args.kw_defaults if default)]
            yield from _at_import(ast.List([*child.decorator_list, *defaults]))
        elif not isinstance(child, ast.Lambda):
            yield child
            yield from _at_import(child)


def readings(source: str) -> list[str]:
    calls = (node for node in _at_import(ast.parse(source)) if isinstance(node, ast.Call))
    names = ((call.lineno, getattr(call.func, "id", getattr(call.func, "attr", ""))) for call in calls)
    return [f"{line}: {name}()" for line, name in names if name in READINGS]


def test_no_test_module_reads_the_clock_at_import() -> None:
    modules = sorted(Path(ROOT, "tests").rglob("*.py"))
    assert modules
    assert [f"{file}:{found}" for file in modules for found in readings(file.read_text())] == []


def test_planted_readings_are_found() -> None:
    planted = '@pytest.mark.parametrize("x", [(1, now_ms() - 5)])\ndef test(x, y=time.time()):\n    now_ms()\n'
    assert readings(planted + "NOW = datetime.now(UTC)\nLATER = lambda: now_ms()\n") == [
        "1: now_ms()", "2: time()", "4: now()",
    ]  # fmt: skip
