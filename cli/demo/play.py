"""The play itself: batches in order, at the pace of a busy shop, each written down when ingest has answered it."""

import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from cli.demo import journal as journals
from cli.demo.acts import HISTORY
from cli.demo.books import Books
from cli.demo.journal import Journal
from cli.demo.plan import Plan
from cli.demo.screen import Screen
from cli.demo.sender import Interrupted, Sender
from services.chassis.run import Stop

# History goes in faster than live events, but not so fast that the first of these wait behind it.
HISTORY_PER_S = 2_000.0
RATE_OVER_S = 3.0
IMPORTING, PLAYING = "importing history", "the shop is open"


@dataclass(slots=True)
class Player:
    """Plays what of `plan` has no answer yet."""

    plan: Plan
    journal: Journal
    books: Books
    screen: Screen
    stop: Stop
    state_dir: Path
    recent: deque[tuple[float, int]] = field(default_factory=deque)

    def play(self, sender: Sender, rate_per_s: float) -> None:
        """Send every remaining batch. Raises Interrupted or DemoError; the journal then says where to go on."""
        began = time.monotonic()
        due_s = 0.0
        self.screen.stage(IMPORTING, self.plan.events)
        self.screen.progress.done = self.books.sent
        for batch in self.plan.batches[len(self.journal.answered) :]:
            is_history = batch.channel == HISTORY
            if not is_history:
                self.screen.progress.stage = PLAYING
            if self.stop.wait(max(0.0, began + due_s - time.monotonic())):
                raise Interrupted
            refusals = sender.send(batch, self.journal.base_ms)
            self.journal.answered.append(refusals)
            journals.save(self.state_dir, self.journal)
            self.books.enter(batch, refusals)
            due_s += len(batch.events) / (HISTORY_PER_S if is_history else rate_per_s)
            self._show()

    def _show(self) -> None:
        progress, books = self.screen.progress, self.books
        now = time.monotonic()
        self.recent.append((now, books.sent))
        while now - self.recent[0][0] > RATE_OVER_S:
            self.recent.popleft()
        since, before = self.recent[0]
        progress.rate_per_s = (books.sent - before) / (now - since) if now > since else 0.0
        progress.done = progress.sent = books.sent
        progress.copies, progress.refused = books.copies, books.refused.total()
        self.screen.moved()
