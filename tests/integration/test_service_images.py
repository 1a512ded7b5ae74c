"""What deploy/service.Dockerfile puts into an image starts: its COPY and `uv sync` lines are carried out in a folder.

That is the part of an image that goes wrong without anybody noticing on a machine where everything is installed: a file
that is not copied, a dependency that is declared by another service only.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
TEXT = (REPO / "deploy" / "service.Dockerfile").read_text().replace("\\\n", " ")
UV = Path(sys.prefix) / "bin" / "uv"
SERVICES = sorted(path.parent.name for path in REPO.glob("services/*/__main__.py"))
# A package that only one service needs.
OWN = {"faust": "notify", "phonenumbers": "ingest", "cel": "rules", "starlette": "ingest"}


def stages() -> dict[str, tuple[str, str]]:
    """Stage → (the stage it begins from, its instructions)."""
    parts = re.split(r"^FROM (\S+) AS ([\w-]+)$", TEXT, flags=re.MULTILINE)[1:]
    return {name: (parent, body) for parent, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def instructions(stage: str) -> str:
    """All instructions of a stage, those it inherits first."""
    if stage not in stages():
        return ""
    parent, body = stages()[stage]
    return instructions(parent) + body


def carry_out(stage: str, service: str, folder: Path) -> None:
    """The COPY lines of a stage into `folder`, and its `uv sync` into `folder`/venv."""
    for line in instructions(stage).replace("${SERVICE}", service).splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            *sources, target = line.split()[1:]
            for source in sources:
                copy(REPO / source, folder / target / ("" if not target.endswith("/") else Path(source).name))
        elif " uv sync " in line:
            command = [str(UV), *line.split(" uv ")[1].split()]
            env = os.environ | {"UV_PROJECT_ENVIRONMENT": str(folder / "venv"), "UV_PYTHON": sys.executable}
            env.pop("VIRTUAL_ENV", None)
            subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, timeout=240)


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "README.md"))
    else:
        shutil.copy(source, target)


def run(image: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Python code in the image: its packages, its files, nothing of this environment."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(image / "app"), "HOME": str(image)}
    python = image / "build" / "venv" / "bin" / "python"
    return subprocess.run(
        [python, "-c", code], cwd=image / "app", env=env, capture_output=True, text=True, timeout=60, check=False
    )


def found(image: Path, names: Iterable[str]) -> set[str]:
    """Those of the packages that the image holds."""
    done = run(image, f"from importlib.util import find_spec; print(*filter(find_spec, {[*names]}))")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def modules(service: str) -> list[str]:
    """What an image of this service is started with."""
    mains = (REPO / "services" / service).rglob("__main__.py")
    return [".".join(path.relative_to(REPO).with_suffix("").parts) for path in mains]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_holds_what_its_service_imports_and_no_more(service: str, tmp_path: Path) -> None:
    carry_out("service-dependencies", service, tmp_path / "build")
    carry_out("service", service, tmp_path / "app")
    for module in modules(service):
        done = run(tmp_path, f"import {module}")
        assert done.returncode == 0, done.stderr
    assert found(tmp_path, [*OWN, "pytest"]) == {name for name, owner in OWN.items() if owner == service}


def test_the_operators_image_runs_the_command_line(tmp_path: Path) -> None:
    carry_out("command-dependencies", "", tmp_path / "build")
    carry_out("command", "", tmp_path / "app")
    entry = re.search(r'^ENTRYPOINT \["python", "-c", "([^"]+)"\]$', stages()["command"][1], re.MULTILINE)
    assert entry
    done = run(tmp_path, f"import sys; sys.argv[1:] = ['setup', '--help']; {entry[1]}")
    assert done.returncode == 0, done.stderr
    assert found(tmp_path, ["typer", "pytest"]) == {"typer"}
