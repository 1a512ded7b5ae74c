"""The layout that no tool checks: the namespace package, the size of the wiring, and what images hold."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
MAX_MAIN_LINES = 60
# Imported only inside services.chassis.testing, which no image starts.
TEST_TOOLS = {"pytest", "hypothesis", "lupa", "greenlet"}


def overlong(root: Path) -> list[str]:
    """Every `__main__` that does more than wiring fits into."""
    return [
        f"{path.relative_to(root)}: {lines} lines"
        for path in sorted(root.glob("services/**/__main__.py"))
        if (lines := len(path.read_text().splitlines())) > MAX_MAIN_LINES
    ]


def test_services_is_a_namespace_package() -> None:
    assert not (REPO / "services" / "__init__.py").exists()


def test_every_package_below_services_has_an_init() -> None:
    folders = {path.parent for path in (REPO / "services").rglob("*.py")}
    assert not [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()]


def test_every_main_only_wires() -> None:
    assert overlong(REPO) == []


def test_a_planted_long_main_is_named(tmp_path: Path) -> None:
    main = tmp_path / "services" / "rules" / "__main__.py"
    main.parent.mkdir(parents=True)
    main.write_text("x = 1\n" * 61)
    assert overlong(tmp_path) == ["services/rules/__main__.py: 61 lines"]


def test_services_is_never_put_on_the_path() -> None:
    config = tomllib.loads((REPO / "pyproject.toml").read_text())
    assert config["tool"]["hatch"]["build"]["dev-mode-dirs"] == ["."]
    assert "pythonpath" not in config["tool"]["pytest"]["ini_options"]


def imported(folder: Path) -> set[str]:
    """Top-level modules that the sources below a folder import, the standard library and ours left out."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"services"}


def closure(service: str) -> set[str]:
    """Distributions that `uv sync --package touchstream-<service>` installs, by the lock file."""
    locked = {package["name"]: package for package in tomllib.loads((REPO / "uv.lock").read_text())["package"]}
    found: set[tuple[str, str]] = set()
    waiting = [(f"touchstream-{service}", "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        package = locked[name]
        needs = package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies", [])
        for need in needs:
            waiting += [(need["name"], ""), *((need["name"], extra) for extra in need.get("extra", []))]
    return {name for name, _ in found}


def missing(root: Path) -> list[str]:
    """Imports that work on a developer's machine, where everything is installed, and fail in the service's image."""
    owners = packages_distributions()
    problems = []
    for project in sorted(root.glob("services/*/pyproject.toml")):
        service = project.parent.name
        held = closure(service)
        for module in sorted(imported(project.parent) - (TEST_TOOLS if service == "chassis" else set())):
            names = {re.sub(r"[-_.]+", "-", name).lower() for name in owners.get(module, [])}
            if not names & held:
                problems.append(f"{service}: {module}")
    return problems


def test_a_service_imports_only_what_its_image_holds() -> None:
    assert missing(REPO) == []


def test_a_planted_import_that_another_service_brings_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "services" / "rules"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    (folder / "handler.py").write_text("import os, yaml, cel, httpx, faust\nfrom jinja2 import x\n")
    assert missing(tmp_path) == ["rules: faust", "rules: jinja2"]
