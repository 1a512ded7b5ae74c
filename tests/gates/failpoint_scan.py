"""What the code says of failpoints, read from its syntax: the steps it names, and effects that have none around them.

An effect is a call of a driver: a method of something called like a client of Redis, Kafka or ClickHouse, or a Lua
script. The rule that can be checked: a function that calls drivers begins and ends with a step, before the first such
call and behind the last.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Names that drivers go by in our code: `self._consumer.poll()`, `self._connected().query()`, `self._client.get()`.
DRIVERS = {"_client", "_connected", "_consumer", "_producer", "admin", "client", "consumer", "producer", "sender"}
# Lua scripts by the names they are called with, what the schema registry's client is asked through, and what only a
# Kafka consumer has.
CALLED = {"script", "request", "consume"}
# Their methods that stay inside the process, and our own functions in modules called `client`.
INSIDE = {"register_script", "create_batch", "producer", "consumer", "to_record"}


@dataclass(frozen=True, order=True)
class Place:
    """A function of a file below the root."""

    path: str
    function: str

    def __str__(self) -> str:
        return f"{self.path}::{self.function}"


@dataclass(frozen=True)
class Found:
    """One step named in the code."""

    step: str  # empty: not a literal
    place: Place


def sources(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Production modules below services/: test doubles and the failpoints themselves are none."""
    for path in sorted((root / "services").rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if "/testing/" not in name and name != "services/chassis/failpoints.py":
            yield name, ast.parse(path.read_text())


def service_of(path: str) -> str:
    """Whose code a file is; empty: the chassis, which is everybody's."""
    if path.startswith("services/profile/archive/"):
        return "archive"
    service = path.split("/")[1]
    return "" if service == "chassis" else service


def steps(root: Path) -> list[Found]:
    """Every fp() and fp_async() in the code."""
    found = []
    for path, tree in sources(root):
        for function, call in _calls(tree):
            if _name(call.func) in ("fp", "fp_async"):
                step = call.args[0] if call.args else None
                text = step.value if isinstance(step, ast.Constant) and isinstance(step.value, str) else ""
                found.append(Found(text, Place(path, function)))
    return found


def unguarded(root: Path) -> list[Place]:
    """Functions that call a driver without a step before the first such call and one behind the last."""
    found = []
    for path, tree in sources(root):
        scripts = CALLED | _registered(tree)
        drivers = DRIVERS | ({"super"} if _imports_faust(tree) else set())
        effects: dict[str, list[int]] = {}
        guards: dict[str, list[int]] = {}
        for function, call in _calls(tree):
            if _name(call.func) in ("fp", "fp_async"):
                guards.setdefault(function, []).append(call.lineno)
            elif _is_effect(call, scripts, drivers):
                effects.setdefault(function, []).append(call.end_lineno or call.lineno)
        for function, lines in effects.items():
            around = guards.get(function, [])
            if not around or min(around) > min(lines) or max(around) < max(lines):
                found.append(Place(path, function))
    return sorted(found)


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """(qualified name of the function it stands in, call)."""

    def walk(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from walk(child, f"{inside}.{child.name}" if inside else child.name)
                continue
            if isinstance(child, ast.Call):
                yield inside, child
            yield from walk(child, inside)

    return walk(tree, "")


def _name(node: ast.expr) -> str:
    """The last part of what is named: `a.b.c` and `c` and `b().c` are c."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_effect(call: ast.Call, scripts: set[str], drivers: set[str]) -> bool:
    if _name(call.func) in scripts:
        return True
    if not isinstance(call.func, ast.Attribute) or call.func.attr in INSIDE:
        return False
    owner = call.func.value
    return _name(owner.func if isinstance(owner, ast.Call) else owner) in drivers


def _imports_faust(tree: ast.Module) -> bool:
    """There `super()` is a driver."""
    return any(isinstance(node, ast.Import) and node.names[0].name == "faust" for node in ast.walk(tree))


def _registered(tree: ast.Module) -> set[str]:
    """Attributes that hold a Lua script: `self._claim = client.register_script(…)`, also several at once."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(
            isinstance(part, ast.Call) and _name(part.func) == "register_script" for part in ast.walk(node.value)
        ):
            found |= {
                part.attr for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Attribute)
            }
    return found
