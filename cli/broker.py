"""`touchstream broker check`: what a broker may be trusted with, tried out on it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from deploy.kafka.ports import free_ports
from deploy.local.processes import backends
from deploy.local.settings import child_environment, local_settings
from deploy.local.supervisor import Supervisor
from services.chassis.errors import Fatal, Retriable
from services.chassis.kafka.brokers import live_brokers
from services.chassis.kafka.trust.probe import Probe, within
from services.chassis.kafka.trust.promises import Verdict, judge, missing
from services.chassis.settings import SettingsError, SharedSettings, load_settings

app = typer.Typer(no_args_is_help=True, help="Look at the Kafka broker.")
console = Console(highlight=False)
WORDS = {True: "[green]yes", False: "[red]no", None: "[dim]not tried"}


@app.callback()
def broker() -> None:
    """Look at the Kafka broker."""


@app.command()
def check(
    bootstrap: Annotated[str, typer.Option(help="host:port[,…]; default TOUCHSTREAM_KAFKA_BOOTSTRAP")] = "",
    own: Annotated[str, typer.Option(help="tansu or apache: start one, which may then be killed too")] = "",
) -> None:
    """Try out what the broker may be trusted with. Exit 1: something that the services rely on is missing.

    Makes topics named touchstream.check.… and deletes them again. On a broker that runs, nothing is killed.
    """
    if own not in ("", "tansu", "apache") or (own and bootstrap):
        raise typer.BadParameter("--own is tansu or apache, and not together with --bootstrap")
    try:
        settings = load_settings(SharedSettings)
        with _probe(bootstrap or settings.kafka_bootstrap, own) as probe:
            verdicts = _tell(judge(probe))
            probe.forget()
    except (SettingsError, Fatal, Retriable) as error:
        Console(stderr=True).print(f"broker check: {error}", markup=False)
        raise typer.Exit(1) from error
    may_lose = settings.relaxed_durability
    broken = missing(verdicts, may_lose)
    for verdict in broken:
        console.print(f"[red]{verdict.promise.need.value} rely on it: {verdict.promise.text}")
    if broken:
        console.print(f"{len(broken)} promises that are relied on are not kept" + _hint(verdicts, may_lose))
        raise typer.Exit(1)
    console.print("[green]everything that is relied on" + (" where data may be lost" if may_lose else "") + " is kept")


def _hint(verdicts: list[Verdict], may_lose: bool) -> str:
    enough = not may_lose and not missing(verdicts, may_lose=True)
    return "; it will do where data may be lost (TOUCHSTREAM_RELAXED_DURABILITY)" if enough else ""


def _tell(verdicts: Iterator[Verdict]) -> list[Verdict]:
    table, found = Table("may it be trusted with", "", "who relies on it", "instead", box=None), []
    for verdict in verdicts:
        found.append(verdict)
        table.add_row(
            verdict.promise.text, WORDS[verdict.is_kept], verdict.promise.need.value, verdict.why.replace("[", r"\[")
        )
    console.print(table)
    return found


@contextmanager
def _probe(bootstrap: str, own: str) -> Iterator[Probe]:
    if own:
        with tempfile.TemporaryDirectory() as folder, own_broker(Path(folder), own) as probe:  # type: ignore[arg-type]
            yield probe
    elif live_brokers(bootstrap):
        yield Probe(bootstrap)
    else:
        raise Retriable(f"no broker answers on {bootstrap}")


@contextmanager
def own_broker(folder: Path, kind: Literal["tansu", "apache"]) -> Iterator[Probe]:
    """A broker as the local stack starts it, with its state in a folder; it may be killed."""
    settings = local_settings({}).model_copy(
        update={"broker": kind, "state_dir": folder, "kafka_bootstrap": f"127.0.0.1:{free_ports(1)[0]}"}
    )

    def fresh() -> Supervisor:
        (spec,) = (one for one in backends(settings) if one.name == "broker")
        made = Supervisor(settings, [spec], child_environment(settings), lambda _: None)
        made.start()
        return made

    running = [fresh()]

    def kill_and_start() -> None:
        running[0].close()
        running[0] = fresh()
        within(lambda: bool(live_brokers(settings.kafka_bootstrap)), "the broker is not back")

    try:
        yield Probe(settings.kafka_bootstrap, kill_and_start)
    finally:
        running[0].close()
