"""Where the demo plays when no stack runs: on one started for it and stopped after it, or on one that stays.

The supervisor belongs to the main thread (its children die with the thread that started them), so the play has a
thread of its own there.
"""

import os
import threading
import time
from collections.abc import Callable

from deploy.local import pidfile
from deploy.local.control import holder, start_detached
from deploy.local.exclusive import SELF, StackError
from deploy.local.settings import LocalSettings
from deploy.local.stack import open_stack, run_stack
from services.chassis.run import Stop

# Thresholds of RFM scores are a matter of minutes in production; a play of seconds wants to see `high_value` appear.
# Lower: every version makes profile look at all customers again, which the latency of the play would show.
PLAY_ENVIRON = {"TOUCHSTREAM_PROFILE_THRESHOLDS_INTERVAL_S": "12"}
POLL_S = 0.2

LOST = (
    "What was played cannot be added up any more; the next demo is another run. Should the stack refuse to start on"
    " what is left, `touchstream demo --fresh` sets that aside and begins with empty state."
)

# (seconds the stack took to start, 0 when it ran before) → exit code
Work = Callable[[float], int]


def on_kept_stack(settings: LocalSettings, work: Work) -> int:
    """Start a stack in the background and play on it; it goes on running, also after Ctrl-C. Raises StackError."""
    began = time.monotonic()
    start_detached(settings, _environ())
    return work(time.monotonic() - began)


def on_own_stack(settings: LocalSettings, stop: Stop, work: Work, say: Callable[[str], None]) -> int | None:
    """Start a stack, play, drain and stop it; None when it was stopped before the play began.

    Raises StackError when the stack cannot start or loses what it cannot lose; nothing is left running even then.
    """
    began = time.monotonic()
    supervisor = open_stack(settings, say, _environ())
    ready = threading.Event()
    supervisor.on_tick = ready.set
    outcome: list[int] = []
    failed: list[BaseException] = []

    def play() -> None:
        while not ready.wait(POLL_S):
            if stop.is_set():
                return
        try:
            outcome.append(work(time.monotonic() - began))
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread, once the stack has ended
            failed.append(error)
        finally:
            stop.set()

    player = threading.Thread(target=play, name="play")
    player.start()
    try:
        run_stack(supervisor, stop)
    except StackError as error:
        if ready.is_set():
            raise StackError(f"{error}\n{LOST}") from error
        if not stop.is_set():
            raise
        # Else it was asked to stop before there was anything to play on.
    finally:
        stop.set()
        player.join()
    if failed:
        raise failed[0]
    return outcome[0] if outcome else None


def is_alive(settings: LocalSettings) -> bool:
    """Whether a supervisor holds the state folder."""
    return holder(settings) is not None


def restarts(settings: LocalSettings) -> dict[str, int]:
    """How often each process has been started again since the stack began, those that never were left out."""
    known = pidfile.remembered(settings.run_dir)
    return {one.name: one.restarts for one in known if one.restarts and one.name != SELF}


def _environ() -> dict[str, str]:
    return {**PLAY_ENVIRON, **os.environ}
