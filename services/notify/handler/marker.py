"""Outcomes of all lanes, marked in Redis together: one call under way, the next one takes what has come meanwhile.

One call an outcome would need a connection each, and under load the pool ran dry; together they also share one fsync.
"""

import asyncio

from services.notify.adapters.store import Mark, Store
from services.notify.handler.pace import Pace
from services.notify.handler.persist import Persistence

BATCH_MAX = 200
ROUND_S = 0.005


class Marker:
    """Shared by all lanes of the process."""

    def __init__(self, store: Store, persistence: Persistence) -> None:
        self._store, self._persistence = store, persistence
        self._waiting: list[tuple[Mark, asyncio.Future[bool]]] = []
        self._pace = Pace(ROUND_S)
        self._task: asyncio.Task[None] | None = None

    async def mark(self, mark: Mark) -> bool:
        """Durably marked when it returns. False: another holder has taken the delivery over, or it had ended."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((mark, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            await self._pace.wait()
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            marks = [mark for mark, _ in batch]
            flags = await self._persistence.call("store", lambda marks=marks: self._store.settle(marks))  # type: ignore[misc]
            for (_, answer), flag in zip(batch, flags, strict=True):
                if not answer.cancelled():
                    answer.set_result(flag)
