"""Start and stop of a process: the first signal asks it to drain, the second ends it at once."""

import gc
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from services.chassis.errors import Fatal, Retriable
from services.chassis.logs import get_logger
from services.chassis.settings import SettingsError


class Stop(threading.Event):
    """Set when the process should finish what it has begun and leave."""


def run(main: Callable[[Stop], None]) -> int:
    """Call main(stop) with signal handlers installed; returns the exit code (0, 1 fatal, 2 wrong settings).

    SIGTERM and SIGINT set `stop`; a second one exits with 130 without waiting.
    """
    stop = Stop()

    def on_signal(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    # What is loaded by now lives for ever, and a batch makes thousands of objects that reference counting frees:
    # the default threshold of 700 would search them in vain several times a batch.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        main(stop)
    except SettingsError as error:
        get_logger().error("settings.refused", text=str(error))
        return 2
    except (Fatal, Retriable) as error:  # Retriable: a backend was away at the start; whoever started us tries again
        get_logger().error("process.stopped", text=str(error))
        return 1
    return 0
