"""The operator's command `touchstream`: a call imports what its own command needs, no more.

All commands together take two seconds of processor time before the first of them begins.
"""

import importlib
import sys
from collections.abc import Iterable

import typer

# Command, or group of commands → where it is, in the order of the help.
COMMANDS = {
    "up": "cli.stack:up",
    "down": "cli.stack:down",
    "status": "cli.stack:status",
    "wait-idle": "cli.stack:wait_for_idle",
    "setup": "cli.stack:setup",
    "rebase": "cli.rebase:rebase",
    "rebuild": "cli.rebuild.command:rebuild",
    "customers": "cli.customers:customers",
    "bench": "cli.bench.command:bench",
    "demo": "cli.demo.command:demo",
    "replay": "cli.replay.command:replay",
    "verify": "cli.verify.command:app",
    "resolve": "cli.resolve:resolve_command",
    "docs": "cli.docs:app",
    "broker": "cli.broker:app",
    "rules": "cli.rules:app",
    "rejected": "cli.rejected:app",
    "dead": "cli.dead_allow:app",
    "identity": "cli.identity:app",
    "customer": "cli.customers:customer_app",
    "tags": "cli.tags.command:app",
    "segments": "cli.tags.segments:app",
    "correction": "cli.correction.command:app",
    "quality": "cli.quality.command:app",
}


def command_line(names: Iterable[str]) -> typer.Typer:
    """The program with these commands."""
    program = typer.Typer(no_args_is_help=True, add_completion=False)
    program.callback()(_nothing_else)
    for name in names:
        module, _, what = COMMANDS[name].partition(":")
        found = getattr(importlib.import_module(module), what)
        if isinstance(found, typer.Typer):
            program.add_typer(found, name=name)
        else:
            program.command(name=name)(found)
    return program


def _nothing_else() -> None:
    # With a callback a single command is still called by its name. A text here would head the help.
    pass


def __getattr__(name: str) -> typer.Typer:
    """`app`: the program with all commands, for those who look at it as a whole."""
    if name != "app":
        raise AttributeError(name)
    return command_line(COMMANDS)


def main() -> None:
    """Run the command line; exits the process with the command's code."""
    called = sys.argv[1] if len(sys.argv) > 1 else ""
    command_line([called] if called in COMMANDS else COMMANDS)()
