"""The order of a replay: batches out, a bounded number under way, verdicts into the books in the order of the file."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Event

from cli.replay.batches import Batch
from cli.replay.journal import Journal, JournalFile
from cli.replay.sender import Interrupted, Sender
from cli.replay.tally import Verdicts

# Lower: ingest waits for us while we read. Higher: only more to send again after a crash.
IN_FLIGHT_BATCHES = 4


class Pace:
    """At most `per_s` records a second (0: no limit)."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._next_s = 0.0

    async def wait(self, records: int, stop: Event) -> None:
        """Return when that many more may be sent."""
        if not self._per_s:
            return
        now_s = time.monotonic()
        self._next_s = max(self._next_s, now_s)
        until_s = self._next_s
        self._next_s += records / self._per_s
        # A thread's event: the signal handler sets it, nobody awaits it.
        while (left_s := until_s - time.monotonic()) > 0 and not stop.is_set():  # noqa: ASYNC110
            await asyncio.sleep(min(0.1, left_s))


class Replay:
    """One run over one file."""

    def __init__(
        self, sender: Sender, journal: Journal, file: JournalFile, pace: Pace, stop: Event, show: Callable[[], None],
        in_flight: int = IN_FLIGHT_BATCHES,
    ) -> None:  # fmt: skip
        """`show` is called after every batch and must be cheap; in_flight 1: in the order of the file."""
        self._sender, self._journal, self._file = sender, journal, file
        self._pace, self._stop, self._show, self._in_flight = pace, stop, show, in_flight
        self._under_way: deque[tuple[Batch, asyncio.Task[Verdicts]]] = deque()
        self._began_s = time.monotonic() - journal.elapsed_s

    async def run(self, batches: Iterator[Batch]) -> bool:
        """Send all; True when the end was reached, False when it was asked to stop. The journal is saved either way.

        Raises Fatal when the rest cannot be sent, FileRefused when it cannot be read.
        """
        try:
            for batch in batches:
                await self._pace.wait(batch.records, self._stop)
                if self._stop.is_set():
                    break
                self._under_way.append((batch, asyncio.create_task(self._sender.send(batch))))
                while self._under_way and (len(self._under_way) >= self._in_flight or self._under_way[0][1].done()):
                    await self._settle()
                await asyncio.sleep(0)
            while self._under_way:
                await self._settle()
            return not self._stop.is_set()
        except Interrupted:
            return False
        finally:
            for _, task in self._under_way:
                task.cancel()
            await asyncio.gather(*(task for _, task in self._under_way), return_exceptions=True)
            self._journal.elapsed_s = time.monotonic() - self._began_s
            self._file.save(self._journal, now=True)

    async def _settle(self) -> None:
        """The oldest batch: wait for its verdicts. What came back before it waits too: books cover a prefix."""
        batch, task = self._under_way[0]
        while not task.done():
            await asyncio.wait([task], timeout=0.2)
            self._show()
        verdicts = task.result()
        self._under_way.popleft()
        self._journal.tally.add(batch, verdicts)
        self._journal.elapsed_s = time.monotonic() - self._began_s
        self._file.save(self._journal)
        self._show()
