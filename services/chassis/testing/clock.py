"""The clock of tests."""


class FakeClock:
    """A clock that only moves when told to; call it like now_ms."""

    def __init__(self, start_ms: int = 1_750_000_000_000) -> None:
        self.value_ms = start_ms

    def __call__(self) -> int:
        return self.value_ms

    def advance(self, delta_ms: int) -> None:
        """Move forward (or back, to test a clock jump) by delta_ms."""
        self.value_ms += delta_ms
