"""`touchstream` as a whole: every command by its name, and no more imported than it needs."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.main import COMMANDS, command_line
from deploy.local.settings import ROOT


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_alone_is_called_by_its_name(name: str) -> None:
    shown = CliRunner().invoke(command_line([name]), [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert f" {name} [" in shown.output
    assert CliRunner().invoke(command_line([name]), ["--help"]).exit_code == 0


def test_a_call_imports_only_its_own_command() -> None:
    program = (
        "import sys; sys.argv = ['touchstream', 'status', '--help']\n"
        "from cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted(name for name in sys.modules if name.startswith('cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == str(["cli.main", "cli.stack", "cli.stack_view"]), done.stderr
