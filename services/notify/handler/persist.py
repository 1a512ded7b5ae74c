"""Doing a thing until it is done: what Redis or Kafka must remember may not be given up because they hiccup."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.chassis.errors import Fatal
from services.chassis.health import Health
from services.chassis.logs import get_logger, limited
from services.notify import metrics

T = TypeVar("T")
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0


class Persistence:
    """Repeats idempotent calls with growing pauses and tells /readyz while one of them fails."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._log = limited(get_logger())

    async def call(self, part: str, function: Callable[[], Awaitable[T]]) -> T:
        """The result of function(), repeated until it succeeds. Ends otherwise only by cancellation and Fatal.

        part: what is attempted, from a closed list; it labels the counter and the health component.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                result = await function()
            except Fatal:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, giving up would lose what must be remembered
                metrics.failures.labels(part).inc()
                self._health.set(part, False, f"{type(error).__name__}: {error}"[:200])
                self._log.warning(f"{part}.failed", error=type(error).__name__, text=str(error)[:200])
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                self._health.set(part, True)
                return result
