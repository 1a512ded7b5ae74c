"""Time as an argument: production reads the wall clock here and nowhere else, tests pass a FakeClock."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


def now_ms() -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


class FakeClock:
    """A clock that only moves when told to; call it like now_ms."""

    def __init__(self, start_ms: int = 1_750_000_000_000) -> None:
        self.value_ms = start_ms

    def __call__(self) -> int:
        return self.value_ms

    def advance(self, delta_ms: int) -> None:
        """Move forward (or back, to test a clock jump) by delta_ms."""
        self.value_ms += delta_ms
