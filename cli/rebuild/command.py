"""`touchstream rebuild`: the command and its report."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from cli.rebuild.checks import assert_idle, read_log
from cli.rebuild.differs import untold
from cli.rebuild.run import Done, run
from services.chassis.errors import Fatal, Poison, Retriable
from services.chassis.redis import rebuild as frame
from services.chassis.redis.client import RedisError, durable_client
from services.chassis.redis.inspect import registered
from services.chassis.redis.ledger import Ledger
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
        with durable_client(settings.redis_url, settings.relaxed_durability) as client:
            assert_idle(settings, Ledger(client))
            log = _patiently(lambda: read_log(settings))
            frame.begin(client, fresh, [notify_log.KEY])
            done, seconds = run(log, console)
            names = {notify_log.KEY: notify_log.log_name(log.cluster_id, log.topic_ids)}
            frame.finish(client, registered(client), log.cluster_id, log.topic_ids, names)
    except (SettingsError, Fatal, Retriable, Poison, RedisError) as error:
        Console(stderr=True).print(f"rebuild: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    _report(done, log.records("touchpoints"), seconds)
    for line in untold(log, done):
        console.print(line, soft_wrap=True)


def _patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns; a broker that is busy is asked again."""
    for _ in range(ASKED - 1):
        with suppress(Retriable):
            return ask()
    return ask()


def _report(done: list[Done], events: int, seconds: float) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("records", "seconds", "CPU s", "records/s"):
        table.add_column(name, justify="right")
    table.add_column("compared and found equal, or done")
    for one in done:
        facts = asdict(one.found) if is_dataclass(one.found) and not isinstance(one.found, type) else {}
        shown = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in facts.items() if value)
        rate = f"{one.records / max(0.001, one.seconds):,.0f}"
        table.add_row(one.name, f"{one.records:,}", f"{one.seconds:.1f}", f"{one.cpu_s:.1f}", rate, shown)
    console.print(table)
    console.print(f"rebuilt: {events:,} touchpoints in {seconds:.1f} s, {events / max(0.001, seconds):,.0f} events/s")
