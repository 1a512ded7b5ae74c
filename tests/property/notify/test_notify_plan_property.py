"""Planning: whatever a trigger holds, every action ends as one delivery, and the same trigger as the same ones."""

import json

from hypothesis import given
from hypothesis import strategies as st

from services.chassis.ids import stable_id
from services.notify.core.plan import plan, read_action, read_trigger
from tests.unit.notify.notify_builders import NOW_MS, routes, templates, trigger_record

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from(["", "crm", "mail", "group", "nowhere", "webhook", "email", "wecom", "sms", "hello", "goodbye"])
actions = st.fixed_dictionaries({"channel": names, "destination": names, "template": names}) | json_values
TEMPLATES, ROUTES = templates(), routes()


@given(st.lists(actions, max_size=6), json_values, json_values)
def test_every_action_of_any_trigger_becomes_exactly_one_delivery(items, name, email):  # type: ignore[no-untyped-def]
    profile = json.dumps({"traits": {"name": name, "email": email}}).encode()
    record = trigger_record(actions=json.dumps(items).encode(), profile=profile)
    found = plan(read_trigger(record), ROUTES, TEMPLATES, stable_id, NOW_MS)
    assert [d.delivery_id for d in found] == [stable_id("t1", str(n)) for n in range(len(items))]
    for delivery in found:
        assert (delivery.status is None) == (delivery.reason == "")
        assert delivery.status is not None or delivery.destination in ROUTES.routes
        assert "\n" not in delivery.content.subject
        assert delivery.status is not None or delivery.channel != "email" or "@" in delivery.to
    assert found == plan(read_trigger(record), ROUTES, TEMPLATES, stable_id, NOW_MS)


@given(json_values)
def test_reading_an_action_never_raises(item):  # type: ignore[no-untyped-def]
    read_action(item)
