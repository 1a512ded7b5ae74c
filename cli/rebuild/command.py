"""`touchstream rebuild`: the command, its progress and its report."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.rebuild.checks import assert_idle, read_log
from cli.rebuild.stages import Stages, Target
from services.chassis.clickhouse import connect
from services.chassis.errors import Fatal, Poison, Retriable
from services.chassis.redis import rebuild as frame
from services.chassis.redis.client import RedisError, durable_client
from services.chassis.redis.inspect import registered
from services.chassis.redis.ledger import Ledger
from services.chassis.registry import open_registry
from services.chassis.settings import SettingsError, SharedSettings, load_settings
from services.notify.adapters import durable as notify_log

T = TypeVar("T")
ASKED = 5
console = Console(highlight=False)


def rebuild(
    fresh: Annotated[
        bool, typer.Option("--fresh", help="throw away what an interrupted rebuild left, and begin anew")
    ] = False,
) -> None:
    """Redis is lost: build everything in it anew from Kafka and ClickHouse, equal to what was there.

    Stop all services but ingest, give TOUCHSTREAM_REDIS_URL an empty Redis, run it with the services' own settings
    (identifier key, policy, time zone). What differs from what the services had sent is named and ends it. Until it has
    finished no service accepts this Redis. Exit code 1 when it is refused or something differs.
    """
    try:
        settings = load_settings(SharedSettings)
        client = durable_client(settings.redis_url, settings.relaxed_durability)
        ledger = Ledger(client)
        assert_idle(settings, ledger)
        log = _patiently(lambda: read_log(settings))
        frame.begin(client, fresh, [notify_log.KEY])
        registry = open_registry(settings.schema_registry_url)
        target = Target(settings, ledger, connect(settings), registry, log)
        done = _run(target)
        names = {notify_log.KEY: notify_log.log_name(log.cluster_id, log.topic_ids)}
        frame.finish(client, registered(client), log.cluster_id, log.topic_ids, names)
    except (SettingsError, Fatal, Retriable, Poison, RedisError) as error:
        Console(stderr=True).print(f"rebuild: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    _report(done, log.records("touchpoints"))


def _patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns; a broker that is busy is asked again."""
    for _ in range(ASKED - 1):
        with suppress(Retriable):
            return ask()
    return ask()


def _run(target: Target) -> list[tuple[str, int, float, Any]]:
    """(stage, records, seconds, what it did) of every stage."""
    done = []
    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[rate]}"), console=console) as progress:
        for stage in Stages().all:
            started, total = time.monotonic(), target.log.records(*stage.topics)
            task = progress.add_task(stage.name, total=total or None, rate="")

            def advance(count: int, task: Any = task, started: float = started) -> None:
                progress.advance(task, count)
                rate = progress.tasks[task].completed / max(0.001, time.monotonic() - started)
                progress.update(task, rate=f"{rate:,.0f}/s")

            found = stage.run(target, advance)
            progress.update(task, completed=total or progress.tasks[task].completed)
            done.append((stage.name, total, time.monotonic() - started, found))
    return done


def _report(done: list[tuple[str, int, float, Any]], events: int) -> None:
    table = Table(box=None, pad_edge=False)
    for name, justify in (("stage", "left"), ("records", "right"), ("seconds", "right"), ("records/s", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("compared and found equal, or done")
    for name, count, seconds, found in done:
        facts = asdict(found) if is_dataclass(found) and not isinstance(found, type) else {}
        shown = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in facts.items() if value)
        table.add_row(name, f"{count:,}", f"{seconds:.1f}", f"{count / max(0.001, seconds):,.0f}", shown)
    console.print(table)
    total = sum(seconds for _, _, seconds, _ in done)
    console.print(f"rebuilt: {events:,} touchpoints in {total:.1f} s, {events / max(0.001, total):,.0f} events/s")
