"""One part of a run, in order: open it, play what is not yet played, wait until all has arrived, prove it, tell.

Whatever ends it early (Ctrl-C, a stack that is gone) leaves a journal from which the next demo goes on.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cli.demo import journal as journals
from cli.demo.books import Books, write_books
from cli.demo.facts import Facts, load_facts
from cli.demo.guide import example, places, try_next
from cli.demo.journal import Journal
from cli.demo.opening import Opener, Options
from cli.demo.plan import Plan, make_plan
from cli.demo.play import Player
from cli.demo.promises import read_promises
from cli.demo.reconcile import reconcile
from cli.demo.screen import Screen
from cli.demo.sender import DemoError, Interrupted, Sender
from cli.demo.summary import Report, Timing, show
from cli.demo.watch import SinkWatch
from deploy.local.idle import LOOK_EVERY_S, Look
from deploy.local.settings import LocalSettings
from services.chassis.clickhouse import connect
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal, Retriable
from services.chassis.ids import node_of
from services.chassis.run import Stop

OK, DIFFERS, INTERRUPTED = 0, 1, 130
# Waiting for the last events ends when nothing has changed for the first time, which is longer than any killed service
# stays away, or after the second: a stack that others use too may never be quiet. Then the proof decides.
UNCHANGED_S, SETTLE_S = 60.0, 300.0
# A ClickHouse that is being started again answers after a few seconds.
FACTS_S = 30.0


@dataclass(frozen=True, slots=True)
class Stack:
    """What the demo must know of the stack it plays on. `stays`: it goes on running after the demo."""

    ingest_url: str
    sink_url: str
    metrics_urls: Mapping[str, str]
    is_alive: Callable[[], bool]
    restarts: Callable[[], dict[str, int]]
    was_drained: bool
    stays: bool


class Demo:
    """Plays one part of a run. Used by one thread."""

    def __init__(self, settings: LocalSettings, options: Options, stack: Stack, screen: Screen, stop: Stop) -> None:
        self._settings, self._options, self._stack = settings, options, stack
        self._screen, self._stop = screen, stop
        self._house = connect(settings)

    def work(self, start_s: float) -> int:
        """The exit code. `start_s`: how long the stack took to start, 0 when it ran before."""
        try:
            return self._work(start_s)
        except Interrupted:
            # By the user, or by a stack that is ending: who knows which says what that means.
            self._screen.hide()
            return INTERRUPTED
        except (DemoError, Retriable, Fatal) as error:
            self._screen.hide()
            self._screen.say(f"The demo cannot go on: {error}", "red")
            return DIFFERS
        finally:
            self._house.close()

    def _work(self, start_s: float) -> int:
        screen, state_dir = self._screen, self._settings.state_dir
        screen.stage("writing the story")
        journal = Opener(self._house, state_dir, self._stack.was_drained, self._stop, screen.say).open(self._options)
        plan = make_plan(journal.run, journal.token, journal.seed, journal.events)
        books = write_books(plan.batches, journal.answered)
        began, before = time.monotonic(), self._stack.restarts()
        try:
            self._play(plan, journal, books)
            played_at = time.monotonic()
            self._settle()
        finally:
            journal.play_s += time.monotonic() - began
            for name, count in self._stack.restarts().items():
                journal.restarts[name] = journal.restarts.get(name, 0) + count - before.get(name, 0)
            journals.save(state_dir, journal)
        settled_at = time.monotonic()
        report = self._add_up(plan, journal, books, Timing(start_s, played_at - began, settled_at - played_at))
        # Reconciled or not: to go on with it would change nothing.
        journal.is_done = True
        journals.save(state_dir, journal)
        screen.hide()
        show(report, screen.console)
        return OK if report.holds else DIFFERS

    def _play(self, plan: Plan, journal: Journal, books: Books) -> None:
        sender = Sender(self._stack.ingest_url, self._stop, self._stack.is_alive, now_ms)
        watch = SinkWatch(self._stack.sink_url, self._screen.progress.seen)
        player = Player(plan, journal, books, self._screen, self._stop, self._settings.state_dir)
        try:
            player.play(sender, self._options.rate)
        finally:
            journal.unanswered += sender.unanswered
            sender.close()
            watch.close()

    def _settle(self) -> None:
        """Wait until nothing is on its way any more. Raises Interrupted."""
        self._screen.stage("until all has arrived")
        look = Look(self._settings, self._stack.metrics_urls)
        last: list[str] = []
        changed_at = began = time.monotonic()
        try:
            while left := look():
                now = time.monotonic()
                if left != last:
                    last, changed_at = left, now
                if now > min(changed_at + UNCHANGED_S, began + SETTLE_S):
                    break
                self._screen.progress.detail = left[0]
                self._screen.moved()
                if self._stop.wait(LOOK_EVERY_S):
                    raise Interrupted
                if not self._stack.is_alive():
                    raise DemoError("the stack is gone")
        finally:
            look.close()

    def _add_up(self, plan: Plan, journal: Journal, books: Books, timing: Timing) -> Report:
        self._screen.stage("adding up")
        settings, stack = self._settings, self._stack
        facts, accounts, promises = self._facts(plan.prefix), books.accounts(), read_promises()
        key = settings.identifier_key_bytes()
        return Report(
            journal.run, journal.seed, timing, books, facts,
            reconcile(books, accounts, facts, lambda identifier: node_of(identifier, key), promises),
            places(settings, stack.ingest_url, stack.sink_url, dict(stack.metrics_urls)),
            try_next(example(accounts), settings, stack.ingest_url, stack.stays),
            {name: count for name, count in journal.restarts.items() if count}, _notes(journal),
        )  # fmt: skip

    def _facts(self, prefix: str) -> Facts:
        deadline = time.monotonic() + FACTS_S
        while True:
            try:
                return load_facts(self._house, prefix)
            except Retriable:
                if time.monotonic() > deadline:
                    raise
                if self._stop.wait(1.0):
                    raise Interrupted from None


def _notes(journal: Journal) -> list[str]:
    notes = []
    if journal.parts > 1:
        notes.append(f"Interrupted and continued: this run was played in {journal.parts} parts.")
    if journal.unanswered:
        notes.append(f"{journal.unanswered} requests had no answer and were sent again with the same message ids.")
    return notes
