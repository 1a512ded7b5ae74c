"""The commands around the stack: up, down, status, wait-idle, and setup for a stack that somebody else runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.live import Live

from cli.stack_view import Readings, Row, as_json, table
from deploy.local.control import holder, see, start_detached, take_down
from deploy.local.idle import Look, wait_idle
from deploy.local.processes import ingest_port, local_stack, metrics_urls, sink_port
from deploy.local.settings import LocalSettings, local_settings
from deploy.local.stack import open_stack, run_stack, set_aside
from deploy.local.supervisor import Supervisor
from services.chassis.errors import Fatal, Retriable
from services.chassis.run import Stop, run
from services.chassis.settings import SettingsError, SharedSettings, load_settings
from services.chassis.topics import create_topics, load_topics

T = TypeVar("T")
SHOW_EVERY_S = 1.0
console = Console()
complaints = Console(stderr=True)


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="return as soon as everything is ready")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="set former data aside and start with empty state")] = False,
) -> None:
    """Start the local stack and show its state; Ctrl-C drains and stops it, a second Ctrl-C kills it."""
    settings = _settings()
    if fresh and (aside := or_exit(lambda: set_aside(settings))):
        console.print(f"former data set aside in {aside}")
    if detach:
        pid = or_exit(lambda: start_detached(settings))
        console.print(f"the local stack is up (supervisor {pid}); {_addresses(settings)}", soft_wrap=True)
        return
    failed: list[Exception] = []

    def main(stop: Stop) -> None:
        try:
            _foreground(settings, stop)
        except (SettingsError, Fatal, Retriable) as error:
            failed.append(error)

    code = run(main)
    if failed:
        _give_up(str(failed[0]))
    raise typer.Exit(code)


def _foreground(settings: LocalSettings, stop: Stop) -> None:
    supervisor = open_stack(settings, _say)
    readings = Readings([member.spec for member in supervisor.members])
    if not console.is_terminal:
        run_stack(supervisor, stop)
        return
    shown_s = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        # Live hides it; a second Ctrl-C ends the process without giving it back.
        console.show_cursor(True)

        def show() -> None:
            nonlocal shown_s
            if time.monotonic() - shown_s >= SHOW_EVERY_S:
                shown_s = time.monotonic()
                live.update(table(_rows(supervisor, readings), f"touchstream · {_addresses(settings)}"), refresh=True)

        supervisor.on_tick = show
        run_stack(supervisor, stop)


def _rows(supervisor: Supervisor, readings: Readings) -> list[Row]:
    numbers = readings.take()
    return [
        Row(m.spec.name, m.state, m.child.pid if m.child else 0, m.restarts, numbers.get(m.spec.name))
        for m in supervisor.members
    ]


def down() -> None:
    """Drain and stop the local stack; also ends what a stack that was killed has left running."""
    settings = _settings()
    ran = or_exit(lambda: take_down(settings, _say))
    console.print("the local stack is down" if ran else f"no local stack runs on {settings.state_dir}")


def status(
    as_json_: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Show every process of the local stack: rate, lag, errors, restarts. Exit code 1 unless all are ready."""
    settings = _settings()
    specs = local_stack(settings)
    readings = Readings(specs)
    seen, running = see(settings, specs), holder(settings)
    if any(one.pid for one in seen):
        readings.take()
        time.sleep(SHOW_EVERY_S)
    numbers = readings.take()
    rows = [
        Row(
            s.name, "running" if s.is_ready else "starting" if s.pid else "down", s.pid, s.restarts, numbers.get(s.name)
        )
        for s in seen
    ]
    if as_json_:
        logs = {one.name: one.log for one in seen}
        whole = {
            "running": running is not None,
            "supervisor": running.pid if running else None,
            "state": str(settings.state_dir),
            "addresses": _urls(settings),
            "processes": [as_json(row, logs[row.name]) for row in rows],
        }
        console.print_json(json.dumps(whole))
    else:
        title = f"supervisor {running.pid}" if running else "not running: start it with `touchstream up`"
        console.print(table(rows, f"touchstream · {title}"))
    raise typer.Exit(0 if running and all(one.is_ready for one in seen) else 1)


def wait_for_idle(
    timeout: Annotated[float, typer.Option(min=0, help="seconds to wait at most")] = 60.0,
) -> None:
    """Wait until every event is worked off and in ClickHouse; exit code 1 and what is left when it is not in time."""
    settings = _settings()
    look = Look(settings, metrics_urls(os.environ))
    left = or_exit(lambda: wait_idle(look, timeout))
    if left:
        _give_up(f"not idle after {timeout:g} s:\n  " + "\n  ".join(left))


def setup() -> None:
    """Create the topics and bring ClickHouse's tables up to date; doing it again changes nothing."""
    settings = or_exit(lambda: load_settings(SharedSettings))
    topics = list(load_topics().values())
    created = or_exit(lambda: create_topics(settings.kafka_bootstrap, topics, settings.partitions, settings.replicas))
    console.print(f"topics: {len(created)} created, {len(topics) - len(created)} were there")
    raise typer.Exit(subprocess.run([sys.executable, "-m", "services.profile.archive.migrate"], check=False).returncode)


def _say(text: str) -> None:
    console.print(text, style="dim", markup=False, highlight=False, emoji=False, soft_wrap=True)


def _settings() -> LocalSettings:
    return or_exit(local_settings)


def _urls(settings: LocalSettings) -> dict[str, str]:
    ingest, sink = ingest_port(os.environ), sink_port(os.environ)
    return {
        "ingest": f"http://{ingest.host}:{ingest.number}",
        "kafka": settings.kafka_bootstrap,
        "redis": settings.redis_url,
        "clickhouse": settings.clickhouse_url,
        "sink": f"http://{sink.host}:{sink.number}/sink",
    }


def _addresses(settings: LocalSettings) -> str:
    return f"ingest {_urls(settings)['ingest']} (write key: local) · logs in {settings.logs_dir}"


def or_exit(act: Callable[[], T]) -> T:
    """What `act` returns; a mistake in settings or a stack that cannot go on ends the command with its text, exit 1."""
    try:
        return act()
    except (SettingsError, Fatal, Retriable) as error:
        _give_up(str(error))


def _give_up(text: str) -> NoReturn:
    complaints.print(text, style="red", markup=False, highlight=False, emoji=False, soft_wrap=True)
    raise typer.Exit(1)
