"""One batch over the customers it touches: hand-overs of rule state, customers that wait for one, and evaluation.

The protocol (gave / took records of profile.changes): who gives writes its state under an immutable key; who takes
merges it in before anything later counts. Until the key is there the customer waits: its records queue up in its own
state, other customers go on. Pure: states and hand-overs come in as arguments, what is to be written comes out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.rules.core import limits
from services.rules.core.evaluate import RuleIndex, evaluate
from services.rules.core.model import Change, Fires, Outcome
from services.rules.core.state import Customer

GAVE, TOOK, ERASED = "gave", "took", "erased"
# Kinds that change a customer's state whatever the rules say.
HANDOVERS = frozenset((GAVE, TOOK, ERASED))


class Keys(Protocol):
    """Where hand-overs lie. Both methods name the same key, seen from either side."""

    def give(self, handoff_id: str, to_id: str) -> str: ...
    def take(self, handoff_id: str, from_id: str, to_id: str) -> str: ...


@dataclass(slots=True)
class _Work:
    fires: Fires
    queue: list[bytes]
    wait: str


@dataclass(slots=True)
class Round:
    """`customers`: stored states of this batch's customers; a missing one is empty. `given`: hand-overs that are there.

    Afterwards: `states()` what to store, `gives` new hand-overs by key, `taken` keys to delete once that is durable,
    `outcomes` what rules made of which change, in order.
    """

    rules: RuleIndex
    customers: Mapping[str, Customer]
    given: Mapping[str, Fires]
    keys: Keys
    read: Callable[[bytes], Change]
    gives: dict[str, Fires] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    outcomes: list[tuple[Change, Outcome]] = field(default_factory=list)
    _works: dict[str, _Work] = field(default_factory=dict)

    def take(self, change: Change, value: bytes) -> None:
        """Work off one new record, or queue it behind what its customer waits for. `value` is the record's bytes."""
        work = self._work(change.customer_id)
        if work.wait or not self._step(work, change):
            work.queue.append(value)

    def release(self) -> None:
        """Work off the queues of customers whose hand-over has come; one may bring what another waits for."""
        for customer_id in self.customers:
            self._work(customer_id)
        progress = True
        while progress:
            progress = False
            for work in self._works.values():
                if work.wait and (work.wait in self.given or work.wait in self.gives):
                    self._drain(work)
                    progress = True

    def states(self) -> dict[str, Customer]:
        """The state of every customer that was looked at."""
        return {
            customer_id: Customer(
                fires={rule: dict(fired) for rule, fired in work.fires.items()}, queue=work.queue, wait=work.wait
            )
            for customer_id, work in self._works.items()
        }

    def _work(self, customer_id: str) -> _Work:
        work = self._works.get(customer_id)
        if work is None:
            stored = self.customers.get(customer_id, Customer())
            work = self._works[customer_id] = _Work(stored.fires, list(stored.queue), stored.wait)
        return work

    def _drain(self, work: _Work) -> None:
        queue, work.queue, work.wait = work.queue, [], ""
        for done, value in enumerate(queue):
            if not self._step(work, self.read(value)):
                work.queue = queue[done:]
                return

    def _step(self, work: _Work, change: Change) -> bool:
        """Apply one change; False (and work.wait set) when it must wait for a hand-over first."""
        if change.kind == TOOK and not self._adopt(work, change):
            return False
        if change.kind == GAVE:
            for piece in change.pieces:
                work.fires, given = limits.split(work.fires)
                self.gives[self.keys.give(piece.handoff_id, piece.to_id)] = given
        if change.kind == ERASED or (change.kind == GAVE and any(not piece.nodes for piece in change.pieces)):
            work.fires = {}  # the customer's log ends here
            return True
        candidates = self.rules.candidates(change)
        if candidates:
            outcome = evaluate(work.fires, change, candidates, self.rules.zone)
            work.fires = outcome.fires_kept
            self.outcomes.append((change, outcome))
        return True

    def _adopt(self, work: _Work, change: Change) -> bool:
        key = self.keys.take(change.handoff_id, change.from_id, change.customer_id)
        if key in self.gives:
            theirs = self.gives.pop(key)  # given in this very batch: it never needs to be stored
        elif key in self.given:
            theirs = self.given[key]
            self.taken.append(key)
        else:
            work.wait = key
            return False
        work.fires = limits.merge(work.fires, theirs)
        return True
