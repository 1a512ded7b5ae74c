"""Named places where a test may make the process fail. Inert unless configured: one look at an empty dict.

A place in the code is a step, `fp("before_apply")`; a point is a step of a service, `identity.before_apply`. All are
in failpoints.toml. TOUCHSTREAM_FAILPOINTS arms some: `identity.after_apply=kill@2,archive.after_insert=raise`, that is
action[@hit]. Actions: kill (SIGKILL itself), stop (SIGSTOP itself), raise, sleep:<ms>. Without @ the first hit acts,
and no other one ever does; a random hit is the test's to choose, which can print it.

`raise` raises what the step's driver raises when it fails (`failure`), from within the same `try`, so that it goes the
way of a real failure: retried, claimed again, answered with 503, fatal. Where no driver is called it is FailpointError.
"""

import asyncio
import difflib
import json
import os
import signal
import time
import tomllib
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from services.chassis.logs import get_logger
from services.chassis.settings import SettingsError

# When a step comes: once in a process's life; per claimed partition; per batch, request or round; on its own timer;
# only after a failure or a crash; when told to stop; in a command that is run by hand.
MOMENTS = ("start", "claim", "work", "timer", "trouble", "stop", "command")
ACTIONS = "kill, stop, raise or sleep:<ms>"


class FailpointError(Exception):
    """Raised by the action `raise` where no driver is called; never by production."""


@dataclass(frozen=True, slots=True)
class Point:
    """A step as the catalogue has it: the services that have it, when it comes, what stands before or after it."""

    step: str
    services: tuple[str, ...]
    moment: str
    text: str


@dataclass(slots=True)
class _Armed:
    action: str
    at_hit: int
    hits: int = 0


_armed: dict[str, _Armed] = {}
_listed: set[str] = set()  # the steps that the catalogue gives this service; looked at only while something is armed


@cache
def catalogue() -> tuple[Point, ...]:
    """Every step, in the catalogue's order. Raises ValueError when an entry stands twice or is none."""
    document = tomllib.loads(files(__package__).joinpath("failpoints.toml").read_text(encoding="utf-8"))
    points = [
        Point(step, tuple(group["services"]), group["when"], text)
        for group in document["group"]
        for step, text in group["steps"].items()
    ]
    names = [f"{service}.{point.step}" for point in points for service in point.services]
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong = sorted({point.moment for point in points} - set(MOMENTS))
    if twice or wrong:
        raise ValueError(f"failpoints.toml: twice {twice}, unknown moments {wrong}")
    return tuple(points)


def points_of(service: str) -> dict[str, Point]:
    """Full name → step, of one service."""
    return {f"{service}.{point.step}": point for point in catalogue() if service in point.services}


def configure(text: str, service: str) -> None:
    """Arm this service's points of `text`; those of other services may stand there too. Empty: none is armed.

    Raises SettingsError for a form or a name that does not exist: a point that is never hit would prove anything.
    """
    _armed.clear()
    _listed.clear()
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = item.partition("=")
        action, _, hit = rest.partition("@")
        pause = action.removeprefix("sleep:")
        is_action = action in ("kill", "stop", "raise") or (pause != action and pause.isdecimal())
        if not is_action or not (hit or "1").isdecimal() or hit == "0":
            raise SettingsError(f"TOUCHSTREAM_FAILPOINTS: {item!r}: expected name=action[@hit], action {ACTIONS}")
        owner, _, step = name.partition(".")
        known = points_of(owner)
        if name not in known:
            near = difflib.get_close_matches(name, known or points_of(service), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"TOUCHSTREAM_FAILPOINTS: {name}: no such failpoint{hint} (chassis/failpoints.toml)")
        if owner == service:
            _armed[step] = _Armed(action, int(hit or 1))
    if _armed:
        _listed.update(name.partition(".")[2] for name in points_of(service))
        get_logger().warning("failpoints.armed", points={f"{service}.{step}": a.action for step, a in _armed.items()})


def fp(step: str, failure: Callable[[str], Exception] = FailpointError) -> None:
    """Act if this step is armed and this is its hit. A sleep blocks the thread: on an event loop, all of it."""
    if _armed:
        pause_s = _act(step, failure)
        if pause_s:
            time.sleep(pause_s)


class _Nothing:
    """Awaited, it is done: half the price of a coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        return iter(())  # type: ignore[return-value]  # a generator costs as much as a coroutine


_nothing = _Nothing()


def fp_async(step: str, failure: Callable[[str], Exception] = FailpointError) -> Awaitable[None]:
    """As fp; a sleep holds up only the task that awaits it."""
    return _act_async(step, failure) if _armed else _nothing


async def _act_async(step: str, failure: Callable[[str], Exception]) -> None:
    pause_s = _act(step, failure)
    if pause_s:
        await asyncio.sleep(pause_s)


def _act(step: str, failure: Callable[[str], Exception]) -> float:
    """How long to sleep, seconds."""
    point = _armed.get(step)
    if point is None:
        if step not in _listed:  # a test that takes its points from the catalogue would never fail here
            _listed.add(step)
            _say("failpoint.unlisted", step)
        return 0.0
    point.hits += 1
    if point.hits != point.at_hit:
        return 0.0
    _say("failpoint.hit", step, action=point.action, hit=point.hits)
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif point.action == "raise":
        raise failure(f"failpoint {step}")
    else:
        return int(point.action.removeprefix("sleep:")) / 1_000
    return 0.0


def _say(event: str, step: str, **fields: object) -> None:
    """A line of the log, past the logger: after SIGKILL nothing is flushed, and this line is a test's proof."""
    line = {"level": "warning", "event": event, "step": step, **fields}
    os.write(2, json.dumps(line).encode() + b"\n")
