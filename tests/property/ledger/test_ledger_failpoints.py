"""Every failpoint of the loop, the ledger and the relay, at its first and second hit, raising or ending the process.

One story in which everything happens that has a step: work, timers, parcels, a lost answer, a failed send, a rebalance,
a batch that ends its process again and again. What comes out of it is judged as in ledger_machine.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from confluent_kafka import KafkaException

from services.chassis import failpoints
from services.chassis.failpoints import FailpointError
from services.chassis.testing.simulation import Crash, Process, Simulation
from tests.property.ledger import ledger_machine
from tests.property.ledger.ledger_machine import EACH, FIRST, SECOND, LedgerMachine

STEPS = [
    f"{moment}_{what}"
    for what in (
        "subscribe", "revoke", "claim", "assign", "restore", "poll", "load", "due", "suspect", "apply", "apply_again",
        "acquit", "late_delete", "touch", "committed", "mark", "commit", "discard",
    )
    for moment in ("before", "after")
] + ["after_register", "before_relay", "after_produce", "after_flush", "after_relay"]  # fmt: skip
# What ends a process: the interpreter's own way out of a round.
ENDS = (Crash, KafkaException, FailpointError)
Failure = Callable[[str], Exception]


class Mortal(Simulation):
    """A process that is ended by an error is replaced like one that is killed; so is one that ends while it starts."""

    def round(self, number: int) -> None:
        try:
            super().round(number)
        except ENDS:
            self.replace(self.processes[number])

    def replace(self, process: Process) -> None:
        try:
            super().replace(process)
        except ENDS:
            super().replace(process)


class Armed:
    """Counts the hits of every step; acts at one hit of one of them."""

    def __init__(self, step: str = "", at_hit: int = 0, action: str = "") -> None:
        self.hits: Counter[str] = Counter()
        self._step, self._at_hit, self._action = step, at_hit, action

    def __call__(self, step: str, failure: Failure) -> float:
        self.hits[step] += 1
        if (step, self.hits[step]) == (self._step, self._at_hit):
            raise Crash if self._action == "kill" else failure(f"failpoint {step}")
        return 0.0


@contextmanager
def stepping(armed: Armed) -> Iterator[None]:
    with patch.object(failpoints, "_armed", {"": None}), patch.object(failpoints, "_act", armed):
        yield


def tell(armed: Armed) -> None:
    """The story, and what must hold in the end. Raises AssertionError."""
    with patch.object(ledger_machine, "Simulation", Mortal):
        machine = LedgerMachine()
        machine.begin()
    with stepping(armed):
        for to in (0, 1):
            machine.put(to, ["a", "b", "a"])
            machine.parcel(to, 1 - to, take_first=True)
            machine.timer(to, 200, True)
        machine.work(list(range(2 * EACH)), 0.3)
        for to in (0, 1):
            machine.lose_on_the_way((FIRST, to), 1, is_answer=True, twice=False, has_timer=True, each=0.3)
            machine.put(to, ["c"])
            machine.lose_a_send((FIRST, to), 1, arrives=False, late=True, seconds=0.3)
        machine.put(0, ["c", "a"])
        machine.crash((FIRST, 0), ("deliver", 1), 1.1)  # leaves an outbox to be restored
        for _ in range(6):  # claimed again and again at one position: worked record by record
            machine.put(1, ["b", "c"])
            machine.crash((SECOND, 1), ("script before", 2), 1.1)
        machine.rebalance(FIRST, {0: 1, 1: 0})
        machine.rebalance(SECOND, {0: 1, 1: 0})
        for _ in range(3):
            machine.put(0, ["a"])
            machine.work(list(range(2 * EACH)), 1.1)
        machine.teardown()


def test_the_story_comes_by_every_step_at_least_twice() -> None:
    armed = Armed()
    tell(armed)
    seldom = {step: armed.hits[step] for step in STEPS if armed.hits[step] < 2}
    assert seldom == {}
    assert set(armed.hits) == set(STEPS)


@pytest.mark.parametrize("action", ["raise", "kill"])
@pytest.mark.parametrize("at_hit", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_loses_and_doubles_nothing(step: str, at_hit: int, action: str) -> None:
    armed = Armed(step, at_hit, action)
    tell(armed)
    assert armed.hits[step] >= at_hit
