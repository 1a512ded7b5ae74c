"""notify's drain stood still for ever: the relay had not heard that it was cancelled.

Found by tests/unit/notify on a busy machine. redis-py sends with asyncio.wait_for, and Python 3.11's returns the answer
instead of raising when answer and cancellation come in the same round of the loop.
"""

import asyncio
from collections.abc import Sequence
from typing import cast

from services.chassis.health import Health
from services.notify.adapters.store import Store
from services.notify.handler.intake import Intake
from services.notify.handler.lane import Context
from services.notify.handler.notifier import Notifier
from services.notify.handler.persist import Persistence
from services.notify.handler.relay import Publisher, Relay

DEADLINE_S = 20


class DeafStore:
    """Its first answer to each question comes together with a cancellation, which is lost."""

    def __init__(self) -> None:
        self.asked: dict[str, asyncio.Event] = {"outbox": asyncio.Event(), "depths": asyncio.Event()}
        self.lost: list[str] = []
        self.is_over = False

    async def _answer(self, question: str) -> None:
        if self.asked[question].is_set():
            return
        self.asked[question].set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.is_over:
                raise
            self.lost.append(question)

    async def outbox(self, limit: int, acknowledged: Sequence[tuple[int, int]]) -> list[list[object]]:
        await self._answer("outbox")
        return [[] for _ in acknowledged]

    async def depths(self, partitions: int) -> tuple[int, dict[str, object]]:
        await self._answer("depths")
        return 0, {}


class NoIntake:
    """Nothing comes in."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class Clock:
    """What the gauges ask of a context."""

    partitions = 1

    def clock(self) -> int:
        return 0


async def test_a_stop_ends_all_parts_although_their_cancellations_are_lost() -> None:
    deaf, persistence = DeafStore(), Persistence(Health())
    store = cast(Store, deaf)
    relay = Relay(store, cast(Publisher, None), persistence, lambda: [0])
    notifier = Notifier(cast(Intake, NoIntake()), relay, store, persistence, cast(Context, Clock()), {})
    notifier.start()
    try:
        async with asyncio.timeout(DEADLINE_S):
            for asked in deaf.asked.values():
                await asked.wait()
            await notifier.stop(5)
    finally:
        deaf.is_over = True
    assert sorted(deaf.lost) == ["depths", "outbox"]
