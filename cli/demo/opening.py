"""Which run is played: the interrupted one where that is possible, else a new one with new people and message ids."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cli.demo import journal as journals
from cli.demo.books import write_books
from cli.demo.facts import count_arrived, last_run
from cli.demo.journal import Journal
from cli.demo.plan import make_plan
from cli.demo.sender import Interrupted
from services.chassis.clickhouse import Clickhouse
from services.chassis.clock import now_ms
from services.chassis.run import Stop

DEFAULT_EVENTS = 15_000
# Acknowledged events that are not in ClickHouse by then are not on their way any more.
FOUND_AGAIN_S = 15.0
POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class Options:
    """Of the command line; None: not given. `rate`: live events a second."""

    events: int | None
    seed: int | None
    rate: float


@dataclass(frozen=True, slots=True)
class Opener:
    """`was_drained`: no event was lost when the stack before this one ended."""

    house: Clickhouse
    state_dir: Path
    was_drained: bool
    stop: Stop
    say: Callable[[str], None]

    def open(self, options: Options) -> Journal:
        """The journal to go on with, saved. Raises Interrupted, Retriable or Fatal."""
        last = journals.load(self.state_dir)
        if last is not None and not last.is_done:
            why_not = self._why_not(last, options)
            if not why_not:
                self.say(f"Going on with run {last.run}: {len(last.answered)} of its batches were answered before.")
                last.parts += 1
                return last
            self.say(f"Run {last.run} was interrupted and cannot go on ({why_not}); a new one begins.")
        run = max(last.run if last else 0, last_run(self.house)) + 1
        seed = run if options.seed is None else options.seed
        now = now_ms()
        fresh = Journal(run, journals.new_token(now), seed, options.events or DEFAULT_EVENTS, now)
        journals.save(self.state_dir, fresh)
        return fresh

    def _why_not(self, last: Journal, options: Options) -> str:
        if not last.can_continue(now_ms()):
            return "it is too old: repeated message ids are recognised for a day"
        if options.seed not in (None, last.seed) or options.events not in (None, last.events):
            return "other options are asked for now"
        if not self.was_drained:
            return "the stack was killed, and what its in-memory broker held is gone"
        if not self._is_all_there(last):
            return "acknowledged events of it are gone with the data they were in"
        return ""

    def _is_all_there(self, last: Journal) -> bool:
        """Whether every acknowledged event is in ClickHouse, or gets there shortly.

        More may be there: a batch whose answer was lost.
        """
        plan = make_plan(last.run, last.token, last.seed, last.events)
        wanted = len(write_books(plan.batches, last.answered).accepted)
        deadline = time.monotonic() + FOUND_AGAIN_S
        while count_arrived(self.house, plan.prefix) < wanted:
            if self.stop.wait(POLL_S):
                raise Interrupted
            if time.monotonic() > deadline:
                return False
        return True
