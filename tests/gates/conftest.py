"""A small copy of the tree in which the gates plant violations: same layout, same Makefile, same configuration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
VENV = Path(sys.prefix)
# A checkout of this repository (perhaps another) stands on the environment's path, editable, and `services`,
# a namespace package, would be looked up in both trees. Python runs this module after it has read the .pth files.
SITECUSTOMIZE = """import os.path
import sys

sys.path[:] = [entry for entry in sys.path if not os.path.exists(os.path.join(entry, ".importlinter"))]
"""


class Slice:
    """The packages of the repository with empty modules, and everything that `make check` reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("Makefile", "pyproject.toml", ".importlinter"):
            shutil.copy(REPO / name, root / name)
        for project in sorted(REPO.glob("services/*/pyproject.toml")):
            self.write(str(project.relative_to(REPO)), project.read_text())
        for top in ("services", "cli", "deploy"):
            for package in sorted((REPO / top).rglob("__init__.py")):
                self.write(str(package.relative_to(REPO)), "")
        (root / "tests").mkdir()
        self.write(".isolate/sitecustomize.py", SITECUSTOMIZE)

    def write(self, path: str, text: str) -> None:
        """Write one file below the slice, with its folders."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def make(self, target: str) -> tuple[int, str]:
        """Run a target of the Makefile with this environment's tools; → exit code and everything printed.

        `--assume-old` leaves out the set-up: it is the only part that does not belong to the gate.
        """
        command = ["make", target, f"VENV={VENV}", f"--assume-old={VENV}/.synced"]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        env["PYTHONPATH"] = str(self.root / ".isolate")
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Slice:
    """A fresh slice without any violation."""
    return Slice(tmp_path)
