"""Time as an argument: production reads the wall clock here and nowhere else, tests pass testing/clock.py."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


def now_ms() -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000
