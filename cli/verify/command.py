"""`touchstream verify`: is everything that was accepted counted exactly once, from the topics to ClickHouse?"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.verify.cut import assert_reachable
from cli.verify.profiles.command import profiles
from cli.verify.run import Report, Sources
from cli.verify.run import verify as run
from cli.verify.show import as_json, as_textfile, show
from services.chassis.clickhouse import connect
from services.chassis.errors import Fatal, Poison, Retriable
from services.chassis.redis.client import RedisError, sync_client
from services.chassis.registry import open_registry
from services.chassis.settings import SettingsError, load_settings
from services.identity.adapters import Encoder, load_policy
from services.identity.settings import IdentitySettings
from services.profile.adapters import load_config
from services.profile.settings import ProfileSettings

EQUAL, DIFFERS, BLIND = 0, 1, 2
# A count over a year of events may take a while.
TIMEOUT_S = 600
console = Console(highlight=False)
if not console.is_terminal:
    console.width = 200
complaints = Console(stderr=True, highlight=False)
app = typer.Typer(invoke_without_command=True)
app.command()(profiles)


@app.callback()
def verify(
    context: typer.Context,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object instead of the table")] = False,
    textfile: Annotated[
        Path | None, typer.Option(help="also write the outcome for Prometheus (node_exporter's textfile collector)")
    ] = None,
    patience: Annotated[float, typer.Option(min=0, help="seconds to wait for what is on its way, at each look")] = 15.0,
) -> None:
    """Count everything again, hop by hop, from the topics, Redis and ClickHouse, and name every difference.

    Changes nothing and may run while everything works: what arrives after it began is left out, what is on its way is
    waited for. Exit code 0: all equal, 1: something differs, 2: something could not be looked at.
    """
    if context.invoked_subcommand is not None:
        return
    started_s = time.monotonic()
    try:
        report = _verify(patience, shows_progress=not json_ and sys.stderr.isatty())
    except (SettingsError, Fatal, Retriable, Poison, RedisError) as error:
        _write(textfile, None)
        complaints.print(f"verify could not look: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(BLIND) from error
    seconds = time.monotonic() - started_s
    _write(textfile, report)
    if json_:
        print(json.dumps(as_json(report, seconds), ensure_ascii=False))
    else:
        show(report, seconds, console)
    raise typer.Exit(EQUAL if report.is_equal else DIFFERS)


def _write(path: Path | None, report: Report | None) -> None:
    """Whole or not at all: the collector may look at any moment."""
    if path is not None:
        new = path.with_suffix(".new")
        new.write_text(as_textfile(report, time.time()), encoding="utf-8")
        new.replace(path)


def _verify(patience_s: float, shows_progress: bool) -> Report:
    with open_sources(patience_s) as sources, _progress(shows_progress) as advance:
        return run(sources, advance)


@contextmanager
def open_sources(patience_s: float, environ: Mapping[str, str] | None = None) -> Iterator[Sources]:
    """Everything that is looked at, as the settings of the environment name it."""
    identity, profile = load_settings(IdentitySettings, environ), load_settings(ProfileSettings, environ)
    assert_reachable(identity.kafka_bootstrap)
    policy = load_policy(identity.policy)
    house = connect(identity, TIMEOUT_S)
    client = sync_client(identity.redis_url)
    try:
        yield Sources(
            identity, client, house, open_registry(identity.schema_registry_url), policy,
            Encoder(policy, identity.identifier_key_bytes()).encode,
            load_config(profile.config, profile.tags, profile.time_zone), patience_s,
        )  # fmt: skip
    finally:
        client.close()
        house.close()


@contextmanager
def _progress(is_shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Bars on the terminal, nothing elsewhere."""
    if not is_shown:
        yield lambda what, step, total: None
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=complaints, transient=True) as bars:
        tasks = {name: bars.add_task(name, total=None) for name in ("topics", "customers")}

        def advance(what: str, step: int, total: int) -> None:
            bars.update(tasks[what], advance=step, total=total if what == "topics" else None)

        yield advance
