"""Events, books and facts that show only what a test is about."""

from collections.abc import Sequence

from cli.demo.acts import SHOP, Planned
from cli.demo.books import Books
from cli.demo.facts import Facts
from cli.demo.plan import Batch


def event(
    message_id: str, *identifiers: str, order: tuple[str, int] | None = None, age_days: float = 0, fault: str = "",
    name: str = "", channel: str = SHOP,
) -> Planned:  # fmt: skip
    """A planned event."""
    return Planned(
        channel,
        0.0,
        {"event": name} if name else {},
        identifiers,
        int(age_days * 86_400_000),
        order,
        fault,
        message_id=message_id,
    )


def batch(*events: Planned, is_repeat: bool = False) -> Batch:
    """A batch of the shop's."""
    return Batch(SHOP, events, is_repeat)


def books(*events: Planned) -> Books:
    """Books in which all of these were accepted once."""
    written = Books()
    written.enter(batch(*events), [])
    return written


def node(identifier: str) -> str:
    """Identifier → node, readable."""
    return f"node of {identifier}"


def facts_of(customers: dict[str, Sequence[Planned]], merged: Sequence[str] = ()) -> Facts:
    """What ClickHouse holds when it is right: customer id → its events. `merged`: former ids of the first customer."""
    first = next(iter(customers))
    return Facts(
        events=[
            {"event_id": e.message_id, "customer_id": name, "amount_minor": abs(e.order[1]) if e.order else 0}
            for name, events in customers.items()
            for e in events
        ],
        nodes={node(i): name for name, events in customers.items() for e in events for i in e.identifiers},
        profiles=[
            {
                "customer_id": name, "events": len(events), "stage": "prospect", "tags": ["newcomer"],
                "frequency": len({e.order[0] for e in events if e.order and e.order[1] > 0}),
                "monetary_minor": sum(e.order[1] for e in events if e.order), "currency": "CNY",
            }
            for name, events in customers.items()
        ],
        changes=[
            *({"kind": "linked", "customer_id": name, "from_id": ""} for name in (*customers, *merged)),
            *({"kind": "merged", "customer_id": first, "from_id": name} for name in merged),
        ],
        triggers=[{"trigger_id": "t1", "rule": "welcome", "customer_id": first, "event_id": "e1", "actions": 2}],
        deliveries=[
            {
                "delivery_id": f"d{n}", "trigger_id": "t1", "rule": "welcome", "channel": channel, "error": "",
                "status": "delivered", "accepted_ms": 1_000, "finished_ms": 1_000 + 100 * n,
            }
            for n, channel in enumerate(("email", "webhook"), 1)
        ],
    )  # fmt: skip
