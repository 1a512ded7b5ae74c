"""The SDKs that people already have, unmodified, on the whole stack: every event they sent is in ClickHouse once."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from rudderstack.analytics.client import Client as RudderClient
from segment.analytics.client import Client as SegmentClient

from tests.e2e.conftest import RunningStack

pytestmark = pytest.mark.timeout(900)
VISITORS = 40
TRACKS = 2_000
Call = Callable[[], tuple[bool, dict[str, Any]]]


def send(client: Any, prefix: str) -> dict[str, tuple[str, str]]:
    """Visitors browse, sign up (alias, identify) and buy; message id → (type, the person it is about)."""
    sent: dict[str, tuple[str, str]] = {}

    def keep(person: str, outcome: tuple[bool, dict[str, Any]]) -> None:
        success, message = outcome
        assert success
        sent[message["messageId"]] = (message["type"], person)

    for n in range(VISITORS):
        visitor, person = f"{prefix}-visitor-{n}", f"{prefix}-{n}"
        keep(person, client.page(anonymous_id=visitor, category="Shop", name="Home"))
        keep(person, client.track(anonymous_id=visitor, event="Cart Viewed", properties={"sku": n}))
        if n % 2:
            keep(person, client.alias(visitor, person))
            keep(person, client.identify(person, {"email": f"{person}@Example.com", "phone": f"1391234{5000 + n}"}))
        else:
            keep(person, client.identify(person, {"name": f"Person {n}"}, anonymous_id=visitor))
        keep(person, client.screen(user_id=person, name="Account"))
        keep(person, client.group(person, f"{prefix}-company-{n % 3}", {"name": "Company"}))
    for n in range(TRACKS):
        person = f"{prefix}-{n % VISITORS}"
        order = {"order_id": f"{prefix}-o{n}", "total": 19.9, "currency": "CNY"}
        keep(person, client.track(person, "Order Completed", order))
    client.flush()
    return sent


@pytest.mark.parametrize(("sdk", "make"), [("segment", SegmentClient), ("rudder", RudderClient)])
def test_every_event_is_there_once_and_belongs_to_its_person(
    running_stack: RunningStack, sdk: str, make: Callable[..., Any]
) -> None:
    failures: list[Any] = []
    client = make(
        "local", host=running_stack.ingest_url, gzip=True, on_error=lambda error, batch: failures.append(error)
    )
    sent = send(client, sdk)
    client.shutdown()
    assert failures == []
    assert len(sent) == TRACKS + 5 * VISITORS + VISITORS // 2

    running_stack.settle()
    rows = running_stack.query(
        "SELECT event_id, type, customer_id FROM events WHERE event_id IN"
        f" ({', '.join(repr(event_id) for event_id in sent)})"
    )
    assert Counter(event_id for event_id, _, _ in rows) == dict.fromkeys(sent, 1)
    assert {str(event_id): kind for event_id, kind, _ in rows} == {key: kind for key, (kind, _) in sent.items()}

    # Who was anonymous before is the same customer now.
    of_person: dict[str, set[object]] = {}
    for event_id, _, customer in rows:
        of_person.setdefault(sent[str(event_id)][1], set()).add(customer)
    assert {len(customers) for customers in of_person.values()} == {1}
    assert len(set.union(*of_person.values())) == VISITORS
    revenue = running_stack.query(
        f"SELECT count(), sum(amount_minor) FROM events WHERE order_id LIKE '{sdk}-o%' AND name = 'Order Completed'"
    )
    assert revenue == [(TRACKS, TRACKS * 1990)]
