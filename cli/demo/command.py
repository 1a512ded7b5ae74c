"""`touchstream demo`: the command line of the demo, and the choice of the stack it plays on."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
import yaml
from rich.console import Console

from cli.demo.hosts import is_alive, on_kept_stack, on_own_stack, restarts
from cli.demo.opening import DEFAULT_EVENTS, Options
from cli.demo.run import INTERRUPTED, Demo, Stack
from cli.demo.screen import Screen
from deploy.local.broker import is_lasting
from deploy.local.control import holder
from deploy.local.exclusive import StackError
from deploy.local.processes import ingest_port, local_stack, metrics_urls, sink_port
from deploy.local.settings import ROOT, LocalSettings, local_settings
from deploy.local.stack import DRAINED, set_aside
from services.chassis.errors import Fatal
from services.chassis.run import Stop, run
from services.chassis.settings import SettingsError
from services.chassis.yaml_file import load_yaml

REFUSED = 2
INTERRUPTED_TEXT = (
    "Interrupted. What ingest has answered is written down; the next `touchstream demo` goes on from there.",
    "Interrupted before the play began.",
)
PLAIN_WIDTH = 110
DESTINATIONS = "TOUCHSTREAM_NOTIFY_DESTINATIONS"
# Wide enough for the summary's tables where nobody can be asked how wide the paper is.
console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
complaints = Console(stderr=True)


def demo(
    events: Annotated[
        int | None, typer.Option(min=200, max=200_000, help=f"events of the play, about  [default: {DEFAULT_EVENTS:,}]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="what happens in the shop  [default: the run's number]")] = None,
    rate: Annotated[float, typer.Option(min=1, help="live events a second")] = 700.0,
    keep: Annotated[bool, typer.Option("--keep", help="leave the stack running afterwards")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="set former data aside and start with empty state")] = False,
) -> None:
    """Play a synthetic shop into the stack, watch triggers arrive, and prove that every number adds up.

    Uses the local stack that runs; without one, starts it and stops it at the end. Ctrl-C drains and stops what was
    started; the next demo goes on where this one was interrupted.

    Exit code 0: played, and everything adds up. 1: something differs (it is named), or the stack cannot start or go on.
    2: wrong options or settings. 130: interrupted.
    """
    try:
        settings = local_settings()
        _refuse_real_destinations()
        if fresh and (aside := set_aside(settings)):
            console.print(f"former data set aside in {aside}", style="dim", markup=False, highlight=False)
    except SettingsError as error:
        _give_up(str(error), REFUSED)
    except StackError as error:
        _give_up(str(error))
    codes: list[int] = []

    def main(stop: Stop) -> None:
        try:
            codes.append(_play(settings, Options(events, seed, rate), stop, keep))
        except Fatal as error:
            _complain(str(error))
            codes.append(1)

    raise typer.Exit(run(main) or codes[0])


def _play(settings: LocalSettings, options: Options, stop: Stop, keep: bool) -> int:
    screen = Screen(console)
    runs, was_drained = holder(settings) is not None, (settings.state_dir / DRAINED).exists()
    # A stack that runs has nothing lost of what it was given; whether an earlier one had, the acknowledged events show.
    is_all_there = was_drained or runs or not is_lasting(settings)
    stack = _stack(settings, is_own=not (runs or keep), was_drained=is_all_there)
    demo_ = Demo(settings, options, stack, screen, stop)
    with screen.shown():
        if runs:
            screen.say(f"Playing on the stack that runs on {settings.state_dir}.")
            code: int | None = demo_.work(0.0)
        else:
            screen.stage("starting the stack", len(local_stack(settings)))
            if keep:
                code = on_kept_stack(settings, demo_.work)
            else:
                code = on_own_stack(settings, stop, demo_.work, _telling(screen))
    if code in (None, INTERRUPTED):
        screen.say(INTERRUPTED_TEXT[code is None])
    return INTERRUPTED if code is None else code


def _stack(settings: LocalSettings, is_own: bool, was_drained: bool) -> Stack:
    ingest, sink = ingest_port(os.environ), sink_port(os.environ)
    return Stack(
        ingest_url=f"http://{ingest.host}:{ingest.number}",
        sink_url=f"http://{sink.host}:{sink.number}/sink",
        metrics_urls=metrics_urls(os.environ),
        # Of its own stack this process hears at once, from the supervisor.
        is_alive=lambda: is_own or is_alive(settings),
        restarts=lambda: restarts(settings),
        was_drained=was_drained,
        stays=not is_own,
    )


def _telling(screen: Screen) -> Callable[[str], None]:
    """What the supervisor says: readiness moves the picture, all else stays as a line."""

    def say(text: str) -> None:
        if text.endswith(" is ready"):
            screen.progress.done += 1
            screen.progress.detail = text
            screen.moved()
        else:
            screen.say(text)

    return say


def _refuse_real_destinations() -> None:
    """The play has invented customers; nobody outside may hear of them. Raises SettingsError."""
    path = ROOT / os.environ.get(DESTINATIONS, "deploy/config/destinations.yaml")
    try:
        document = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{DESTINATIONS}: {path} cannot be read: {error}") from error
    if not (isinstance(document, dict) and document.get("test_mode") is True):
        raise SettingsError(
            f"{path} does not say `test_mode: true`, so the demo's invented customers would be written to for real:"
            f" set it, or point {DESTINATIONS} to a file that does"
        )


def _complain(text: str) -> None:
    complaints.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def _give_up(text: str, code: int = 1) -> NoReturn:
    _complain(text)
    raise typer.Exit(code)
