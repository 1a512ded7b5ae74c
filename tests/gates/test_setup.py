"""Set-up explains what is missing, is done once, and the test tiers leave no test out."""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
# Folders of tests/ that `make test` leaves out on purpose, each with its own way to be run.
OWN_TARGET = {"containers", "bench"}
TEST_FILES = set((REPO / "tests").rglob("test_*.py"))
PYTHONS = ("python3", "python3.11", "python3.12", "python3.13", "python3.14")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A checkout on a machine whose only commands are those below bin/: the shell's tools and no Python."""
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "dirname", "awk", "make", "touch", "mkdir", "cp", "chmod"):
        found = shutil.which(tool)
        assert found, f"{tool} is not on this machine"
        (tmp_path / "bin" / tool).symlink_to(found)
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(REPO / name, tmp_path / name)
    shutil.copytree(REPO / ".ci", tmp_path / ".ci")
    return tmp_path


def install(machine: Path, name: str, script: str) -> None:
    target = machine / "bin" / name
    target.write_text(f"#!/usr/bin/env bash\n{script}\n")
    target.chmod(0o755)


def make(machine: Path, *arguments: str) -> tuple[int, str]:
    env = {"PATH": str(machine / "bin"), "HOME": str(machine)}
    command = [str(machine / "bin" / "make"), *arguments]
    done = subprocess.run(command, cwd=machine, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def fake_python(minor: int, *, has_venv: bool = True, has_uv: bool = True) -> str:
    """An interpreter that answers what set-up asks; its virtual environment holds itself and a uv noting its use."""
    uv = (
        'printf "#!/usr/bin/env bash\\necho uv \\$* >> calls\\n" > "$folder/uv"; chmod +x "$folder/uv"'
        if has_uv
        else ":"
    )
    return f"""
case "$*" in
*'version_info < '*) exit {0 if minor >= 11 else 1} ;;
*'version_info[:2]'*) echo 3.{minor} ;;
*ensurepip*) exit {0 if has_venv else 1} ;;
--version) echo Python 3.{minor}.0 ;;
'-m venv --clear '*) folder=${{@: -1}}/bin; mkdir -p "$folder"; cp "$0" "$folder/python"; {uv} ;;
*) echo "python $*" >> calls ;;
esac"""


def calls(machine: Path) -> list[str]:
    file = machine / "calls"
    return file.read_text().splitlines() if file.exists() else []


def test_without_a_new_enough_python_it_says_which_is_needed(machine: Path) -> None:
    install(machine, "python3", fake_python(9))
    code, output = make(machine, "setup")
    assert code != 0
    assert "Python 3.11 or newer is needed; found Python 3.9.0" in output
    assert "apt-get install" in output


def test_without_any_python_it_says_so(machine: Path) -> None:
    code, output = make(machine, "setup")
    assert code != 0
    assert "found no python3" in output


def test_without_the_venv_package_it_says_what_to_install(machine: Path) -> None:
    install(machine, "python3", fake_python(11, has_venv=False))
    code, output = make(machine, "setup")
    assert code != 0
    assert "sudo apt-get install python3.11-venv" in output


@pytest.mark.parametrize("name", PYTHONS)
def test_set_up_is_done_once_and_again_when_the_lock_changes(machine: Path, name: str) -> None:
    install(machine, name, fake_python(12))
    for _ in range(2):
        code, output = make(machine, "setup")
        assert code == 0, output
    assert calls(machine) == ["uv sync --frozen --all-packages --all-groups --quiet"]
    stamp = (machine / ".venv" / ".synced").stat().st_mtime
    os.utime(machine / "uv.lock", (stamp + 10, stamp + 10))
    assert make(machine, "setup")[0] == 0
    assert len(calls(machine)) == 2


def test_uv_is_installed_in_the_version_of_the_lock_file(machine: Path) -> None:
    install(machine, "python3", fake_python(12, has_uv=False))
    make(machine, "setup")
    locked = next(p["version"] for p in tomllib.loads((REPO / "uv.lock").read_text())["package"] if p["name"] == "uv")
    assert calls(machine) == [f"python -m pip install --quiet --disable-pip-version-check uv=={locked}"]


def pytest_runs(target: str) -> list[tuple[str, set[Path]]]:
    """(the marks it selects, the files it runs) of every pytest that a target of the Makefile starts."""
    said = subprocess.run(["make", "-n", target], cwd=REPO, capture_output=True, text=True, check=True).stdout
    runs = []
    for line in said.splitlines():
        arguments = line.partition("/pytest ")[2]
        if arguments:
            words = shlex.split(arguments)
            named = [REPO / word for word in words if word.startswith("tests/")]
            files = {path for path in TEST_FILES if any(path.is_relative_to(place) for place in named)}
            assert all(place.exists() for place in named), line
            runs.append((words[words.index("-m") + 1] if "-m" in words else "", files))
    assert runs, f"make {target} runs no tests"
    return runs


def test_every_test_is_run_by_one_of_the_targets() -> None:
    ((marks, quick),) = pytest_runs("test")
    gate, rest = pytest_runs("test-kafka")
    assert (marks, gate[0], rest[0]) == ("", "kafka", "not containers")
    marked = {path for path in TEST_FILES if "mark.kafka" in path.read_text()} - {Path(__file__)}
    unmarked = TEST_FILES - {
        path for path in marked if re.search(r"^pytestmark = .*mark.kafka", path.read_text(), re.M)
    }
    own = {path for path in TEST_FILES if path.relative_to(REPO / "tests").parts[0] in OWN_TARGET}
    assert unmarked - quick - rest[1] - own == set()
    assert marked - gate[1] - rest[1] == set()


def test_every_test_on_a_broker_runs_on_apache_kafka() -> None:
    _, (_, files) = pytest_runs("test-kafka")
    on_a_broker = {path for path in TEST_FILES if {"integration", "e2e"} & set(path.parts)}
    assert on_a_broker <= files


def test_no_test_stands_outside_a_folder() -> None:
    assert not list((REPO / "tests").glob("test_*.py"))


def test_continuous_integration_runs_the_three_commands_of_the_readme() -> None:
    lines = (REPO / ".ci" / "run").read_text().splitlines()
    commands = [line.split() for line in lines if line.startswith("make ")]
    assert [command[1] for command in commands] == ["check", "test", "test-kafka"]
    assert not any(command[2:] for command in commands)
    assert "set -euo pipefail" in lines


def test_container_tests_name_what_is_missing_without_a_docker_engine(machine: Path) -> None:
    install(machine, "docker", "exit 1")
    code, output = make(machine, "test-containers", "--assume-old=.venv/.synced")
    assert code != 0
    assert "needs a running Docker engine" in output
