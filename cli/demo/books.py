"""The demo's own books: what must be true once everything has arrived, from the plan and from what ingest answered.

Kept apart from every service: identifiers are joined by a union-find of its own, money and orders are added up here.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cli.demo.acts import DAY_MS, HISTORY, Planned
from cli.demo.journal import Refusals
from cli.demo.plan import Batch

# As profile's windows_days.rfm.
WINDOW_DAYS = 365


class UnionFind:
    """Disjoint sets of identifiers (Tarjan 1975, with path halving)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        """The representative of the name's set; a new name is a set of its own."""
        parent = self._parent
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(self, names: Sequence[str]) -> None:
        """All of these are one."""
        first = self.find(names[0])
        for name in names[1:]:
            self._parent[self.find(name)] = first

    def sets(self) -> dict[str, set[str]]:
        """Representative → members."""
        found: dict[str, set[str]] = {}
        for name in list(self._parent):
            found.setdefault(self.find(name), set()).add(name)
        return found


@dataclass(slots=True)
class Account:
    """What one customer must come to: orders and net spend of the last 365 days, minor units.

    `live`, `imported`: names of the events that came as they happened, and of those that an import told.
    """

    identifiers: set[str]
    events: int = 0
    orders: set[str] = field(default_factory=set)
    net_minor: int = 0
    live: set[str] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Books:
    """Of a run so far. `accepted`: by message id, each once; `copies`: again, because clients repeat batches."""

    sent: int = 0
    copies: int = 0
    accepted: dict[str, Planned] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)

    def enter(self, batch: Batch, refusals: Refusals) -> None:
        """Add what ingest answered to a batch."""
        codes = dict(refusals)
        self.sent += len(batch.events)
        for place, event in enumerate(batch.events):
            code = codes.get(place, "")
            if code != event.fault:
                self.surprises.append(f"{event.message_id}: expected {_verdict(event.fault)}, got {_verdict(code)}")
            if code:
                self.refused[code] += 1
            elif event.message_id in self.accepted:
                self.copies += 1
            else:
                self.accepted[event.message_id] = event

    def accounts(self) -> list[Account]:
        """One per customer that must be there."""
        people = UnionFind()
        events = [event for event in self.accepted.values() if event.identifiers]
        for event in events:
            people.join(event.identifiers)
        accounts = {name: Account(members) for name, members in people.sets().items()}
        # A refund belongs to the day of its order.
        ages_ms = {event.order[0]: event.age_ms for event in events if event.order is not None and event.order[1] > 0}
        for event in events:
            _add(accounts[people.find(event.identifiers[0])], event, ages_ms)
        return list(accounts.values())


def write_books(batches: Iterable[Batch], answered: Iterable[Refusals]) -> Books:
    """The books of the batches that were answered."""
    books = Books()
    for batch, refusals in zip(batches, answered, strict=False):
        books.enter(batch, refusals)
    return books


def _add(account: Account, event: Planned, ages_ms: dict[str, int]) -> None:
    account.events += 1
    (account.imported if event.channel == HISTORY else account.live).add(str(event.message.get("event", "")))
    if event.order is None:
        return
    order_id, minor = event.order
    if ages_ms.get(order_id, event.age_ms) < WINDOW_DAYS * DAY_MS:
        account.net_minor += minor
        if minor > 0:
            account.orders.add(order_id)


def _verdict(code: str) -> str:
    return f"a refusal ({code})" if code else "acceptance"
