"""What the oracle knows of one seed: what was sent, what senders were told, what the system shows. Pure.

Of those that nobody knows of, the tables say which are in; everything else is derived from that.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property

from tests.chaos.rig.graph import Graph, graph_of, node_text
from tests.chaos.rig.journal import ACKED, Journal
from tests.chaos.rig.messages import EVENT, GARBAGE, ORDER, REFUND, Message
from tests.chaos.rig.observation import Observation, Row
from tests.chaos.rig.workload import Plan


class Facts:
    """`rows`: how often each event is in the tables. Everything else is worked out when it is asked for."""

    def __init__(self, plan: Plan, journal: Journal, seen: Observation) -> None:
        self.plan, self.journal, self.seen = plan, journal, seen
        self.rows = Counter(row["event_id"] for row in seen.events)

    def records(self, topic: str) -> list[Row]:
        """The records of a topic."""
        return self.seen.records.get(topic, [])

    def is_in(self, message: Message) -> bool:
        """Whether the system took it."""
        if message.what == EVENT:
            # An event that was dropped with its customer's erasure has no row, and still happened before or after.
            return self.journal.status(message.event_id) == ACKED or self.rows[message.event_id] > 0
        if message.what == GARBAGE or not self.journal.attempts[message.event_id]:
            return False
        decided = {change["event_id"] for change in self.seen.records.get("identity.changes", [])}
        return self.journal.status(message.event_id) == ACKED or message.event_id in decided

    @cached_property
    def model(self) -> Graph:
        """Who is one customer."""
        free = [message for batch in self.plan.batches for message in batch if self.is_in(message)]
        lines = [[message for message in line if self.is_in(message)] for line in self.plan.lines]
        return graph_of(free, lines)

    @cached_property
    def counted(self) -> list[Message]:
        """Events that count: in, and not of an erased customer."""
        erased = self.model.erased
        messages = (m for m in self.plan.messages.values() if m.what == EVENT and self.is_in(m))
        return [message for message in messages if message.primary not in erased]

    @cached_property
    def logs(self) -> dict[str, list[Row]]:
        """Every customer's log by number."""
        logs: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self.records("touchpoints.resolved"):
            logs[row["key"]].append(row)
        return {customer: sorted(rows, key=lambda row: int(row["n"])) for customer, rows in logs.items()}

    @cached_property
    def live(self) -> set[str]:
        """Customers whose log has not ended."""
        return {customer for customer, rows in self.logs.items() if not is_end(rows[-1])}

    @cached_property
    def expected(self) -> dict[frozenset[str], Row]:
        """Nodes that have events → what their customer should say of itself. Customers without events are counted."""
        of: dict[str, list[Message]] = {}
        for one in self.model.customers():
            events: list[Message] = []
            of |= dict.fromkeys(one, events)
        for message in self.counted:
            of[message.primary].append(message)
        groups = {id(events): events for events in of.values() if events}.values()
        return {frozenset(node_text(message.primary) for message in events): _summary(events) for events in groups}


def is_end(row: Row) -> bool:
    """Whether a customer's log ends with this record."""
    return row["kind"] == "erase" or (row["kind"] == "give" and not row["pieces"][0]["nodes"])


def _summary(events: Sequence[Message]) -> Row:
    """What follows from the events of one customer, in any order."""
    told = [message for message in events if message.city]
    orders = [message for message in events if message.name == ORDER]
    return {
        "events": len(events),
        "frequency": len({message.order_id for message in orders}),
        "monetary_minor": sum(m.amount_minor for m in orders) - sum(m.amount_minor for m in events if m.name == REFUND),
        "first_ms": min((message.occurred_ms for message in events), default=0),
        "last_ms": max((message.occurred_ms for message in events), default=0),
        "city": max(told, key=lambda message: message.occurred_ms).city if told else "",
    }
