"""`touchstream rules`: look at a folder of rule files the way the rules service does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from services.chassis.settings import env_name
from services.rules.adapters import read_folder
from services.rules.core.model import Limits, Rule, When
from services.rules.core.syntax import RulesRefused, parse_rules
from services.rules.settings import RulesSettings

DEFAULT_FOLDER = Path(str(RulesSettings.model_fields["folder"].default))
UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))

app = typer.Typer(no_args_is_help=True, help="Rules: if this happens to a customer, then do that.")


@app.callback()
def rules() -> None:
    """Rules: if this happens to a customer, then do that."""


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(help="folder of rule files", envvar=env_name(RulesSettings, "folder"))
    ] = DEFAULT_FOLDER,
) -> None:
    """Check every rule of FOLDER and show what each one says; exit 1 with file and line when anything is wrong."""
    try:
        found = parse_rules(read_folder(folder))
    except OSError as error:
        typer.echo(f"{folder}: {error.strerror or error}; expected a folder of *.yaml", err=True)
        raise typer.Exit(1) from None
    except RulesRefused as refused:
        for mistake in refused.mistakes:
            typer.echo(str(mistake), err=True)
        files = len({mistake.file for mistake in refused.mistakes})
        typer.echo(f"{folder}: {len(refused.mistakes)} mistake(s) in {files} file(s)", err=True)
        raise typer.Exit(1) from None
    for rule in found:
        typer.echo("\n".join(_lines(rule)))
    typer.echo(f"{len(found)} rules in {folder}, all good")


def _lines(rule: Rule) -> Iterator[str]:
    """What a rule says, for a person."""
    yield f"{rule.name}  (version {rule.version}, {rule.file})"
    said = {
        "when": " or ".join(map(_when, rule.whens)),
        "if": " ".join(rule.condition.text.split()) if rule.condition else "",
        "limits": _limits(rule.limits),
        "then": ", ".join(_actions(rule.actions)),
    }
    yield from (f"  {clause:6}  {text}" for clause, text in said.items() if text)


def _when(when: When) -> str:
    origin = f"{when.origin} → " if when.origin else ""
    return f"{when.on.value.replace('_', ' ')} {origin}{when.name}"


def _limits(limits: Limits) -> str:
    said = []
    if limits.cooldown_ms:
        unit, size = next((unit, size) for unit, size in UNITS if limits.cooldown_ms % size == 0)
        said.append(f"cooldown {limits.cooldown_ms // size}{unit}")
    if limits.once_per_customer:
        said.append("once per customer")
    if limits.per_customer_per_day:
        said.append(f"{limits.per_customer_per_day} a day")
    return ", ".join(said)


def _actions(actions: bytes) -> Iterator[str]:
    for action in msgspec.json.decode(actions):
        destination = f" to {action['destination']}" if action["destination"] else ""
        yield f"{action['channel']} {action['template']}{destination}"
