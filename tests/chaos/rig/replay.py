"""What should have fired: the rig's rules, worked off over every customer's log by number. Pure, no product code.

The log says in which order the graph decided; given that order there is one answer, whatever died meanwhile. The rules
are those of tests/chaos/config/rules.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.rig.messages import ORDER, REGISTERED

Row = Mapping[str, Any]
Fired = tuple[str, str]  # rule, event id


@dataclass
class _Customer:
    names: dict[str, set[str]] = field(default_factory=dict)  # event names by node
    fired: set[str] = field(default_factory=set)  # rules that fire once per customer
    is_newcomer: bool = False

    def knows(self, name: str) -> bool:
        return any(name in names for names in self.names.values())


class Replay:
    """run() once; then `fired`, in no order, and `stuck`: customers whose log could not be worked to its end."""

    def __init__(self, logs: Mapping[str, Sequence[Row]]) -> None:
        """`logs`: customer → its records by n."""
        self._logs = {customer: list(log) for customer, log in logs.items()}
        self._given: dict[str, _Customer] = {}
        self._customers: defaultdict[str, _Customer] = defaultdict(_Customer)
        self.fired: list[Fired] = []
        self.stuck: list[str] = []

    def run(self) -> "Replay":
        """Work everything off."""
        at = dict.fromkeys(self._logs, 0)
        moved = True
        while moved:
            moved = False
            for customer, log in self._logs.items():
                while at[customer] < len(log) and self._step(customer, log[at[customer]]):
                    at[customer] += 1
                    moved = True
        self.stuck = [customer for customer, log in self._logs.items() if at[customer] < len(log)]
        return self

    def _step(self, customer: str, record: Row) -> bool:
        """False while it has to wait for a hand-over."""
        kind, state = record["kind"], self._customers[customer]
        if kind == "event":
            self._event(state, record)
        elif kind == "give":
            self._give(state, record["pieces"])
        elif kind == "take":
            given = self._given.pop(record["handoff_id"], None)
            if given is None:
                return False
            for node, names in given.names.items():
                state.names.setdefault(node, set()).update(names)
            state.fired |= given.fired
            state.is_newcomer = state.knows(REGISTERED)
        return True

    def _event(self, state: _Customer, record: Row) -> None:
        name, event = record["name"], record["event_id"]
        is_first = not state.knows(name)
        state.names.setdefault(record["node"], set()).add(name)
        if name == ORDER:
            self.fired.append(("order", event))
            if is_first and "first-order" not in state.fired:
                self._once(state, "first-order", event)
        if name == REGISTERED:
            if "welcome" not in state.fired:
                self._once(state, "welcome", event)
            if not state.is_newcomer:
                self.fired.append(("newcomer", event))
            state.is_newcomer = True

    def _once(self, state: _Customer, rule: str, event: str) -> None:
        state.fired.add(rule)
        self.fired.append((rule, event))

    def _give(self, state: _Customer, pieces: Iterable[Row]) -> None:
        for piece in pieces:
            nodes = list(piece["nodes"]) or list(state.names)
            moved = {node: state.names.pop(node) for node in nodes if node in state.names}
            self._given[piece["handoff_id"]] = _Customer(moved, set(state.fired))
        state.is_newcomer = state.knows(REGISTERED)
