"""Waiting in tests: for a condition with a deadline, never for a time."""

import socket
import time
from collections.abc import Callable


def free_port() -> int:
    """A TCP port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 30.0, every_s: float = 0.02) -> None:
    """Return when condition() is true; AssertionError with `what` and the last value after timeout_s.

    every_s: longer for a condition that costs something, such as reading a topic, which opens two Kafka clients.
    """
    deadline = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < deadline:
        last = condition()
        if last:
            return
        time.sleep(every_s)
    raise AssertionError(f"{what}: not within {timeout_s:.0f} s, last seen {last!r}")
