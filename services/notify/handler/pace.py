"""A pause between two rounds of the same work, so that rounds grow instead of becoming many."""

import asyncio
import time


class Pace:
    """The first round after a rest begins at once, the next ones at least interval_s after the one before.

    At 100 triggers a second this halves the processor time of a trigger (every round trip to Redis costs as much as
    planning a delivery); longer intervals would be felt in the latency, shorter ones save nothing.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last = float("-inf")

    async def wait(self) -> None:
        """Return when the next round may begin."""
        rest_s = self._last + self._interval_s - time.monotonic()
        if rest_s > 0:
            await asyncio.sleep(rest_s)
        self._last = time.monotonic()
