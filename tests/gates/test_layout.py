"""The layout that no tool checks: the namespace package, the size of the wiring, and declared dependencies."""

import ast
import re
import sys
import tomllib
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
MAX_MAIN_LINES = 60
# Distribution name → the module it is imported as, where the two differ.
MODULES = {
    "common-expression-language": "cel",
    "faust-streaming": "faust",
    "python-stdnum": "stdnum",
    "pyyaml": "yaml",
}
# Imported only inside services.chassis.testing, which no image starts.
TEST_TOOLS = {"pytest", "hypothesis"}


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


def declared(project: Path) -> set[str]:
    """Modules of the distributions that a pyproject.toml asks for."""
    names = tomllib.loads(project.read_text())["project"]["dependencies"]
    plain = (re.split(r"[\[<>=!~; ]", name)[0].lower() for name in names)
    return {MODULES.get(name, name.replace("-", "_")) for name in plain}


def undeclared(root: Path) -> list[str]:
    """Imports that work on a developer's machine, where everything is installed, and fail in the service's image."""
    chassis = root / "services" / "chassis" / "pyproject.toml"
    problems = []
    for project in sorted(root.glob("services/*/pyproject.toml")):
        known = declared(project) | declared(chassis) | (TEST_TOOLS if project == chassis else set())
        problems += [f"{project.parent.name}: {module}" for module in sorted(imported(project.parent) - known)]
    return problems


def test_a_service_declares_what_it_imports() -> None:
    assert undeclared(REPO) == []


def test_a_planted_import_without_declaration_is_named(tmp_path: Path) -> None:
    for service, dependencies in (("chassis", '["httpx>=0.28"]'), ("rules", '["pyyaml>=6", "python-stdnum"]')):
        (tmp_path / "services" / service).mkdir(parents=True)
        text = f"[project]\nname = '{service}'\ndependencies = {dependencies}\n"
        (tmp_path / "services" / service / "pyproject.toml").write_text(text)
    (tmp_path / "services" / "rules" / "handler.py").write_text(
        "import os, yaml, stdnum.cn, httpx\nfrom jinja2 import x\n"
    )
    assert undeclared(tmp_path) == ["rules: jinja2"]
