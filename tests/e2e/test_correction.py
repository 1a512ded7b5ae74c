"""A correction by staff on the whole stack: from the request to the profile, once, by two people."""

import json
from typing import Any

import httpx

from tests.e2e.conftest import RunningStack

WHY = ("--reason", "told us by phone")


def identify(stack: RunningStack, message_id: str, **traits: str) -> None:
    event = {"type": "identify", "userId": "corr-1", "messageId": message_id, "traits": traits}
    answer = httpx.post(f"{stack.ingest_url}/v1/batch", json={"batch": [event]}, auth=("local", ""), timeout=30)
    assert answer.status_code == 200, answer.text
    stack.settle()


def traits_of(stack: RunningStack, customer: str = "user_id:corr-1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stack.must("customer", "show", customer, "--json"))["traits"]
    return found


def corrections(stack: RunningStack) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stack.must("correction", "list", "--json").splitlines()]


def test_a_correction_that_another_person_approves_is_in_the_profile_once(running_stack: RunningStack) -> None:
    stack = running_stack
    identify(stack, "corr-1", city="上海", phone="13712345678")
    stack.must("correction", "request", "user_id:corr-1", "phone=12345", *WHY, "--author", "wang", code=1)
    assert corrections(stack) == []

    told = stack.must(
        "correction", "request", "user_id:corr-1", "city=深圳", "phone=139 1234 5678", *WHY, "--author", "wang"
    )
    assert "is requested; another person approves it" in told
    (one,) = corrections(stack)
    assert (one["state"], [step["author"] for step in one["steps"]]) == ("requested", ["wang"])
    assert {field["field"]: (field["former"], field["value"]) for field in one["fields"]} == {
        "city": ("上海市", "深圳市"), "city_code": ("310100", "440300"), "phone": ("+86137****5678", "+86139****5678"),
    }  # fmt: skip
    assert '"+8613912345678"' in stack.must("correction", "show", one["id"])
    assert traits_of(stack)["city"] == "上海市"
    stack.must("correction", "approve", one["id"], "--author", "Wang", "--yes", code=1)
    approve = ("--author", "li", "--same-account")
    stack.must("correction", "approve", one["id"], "--author", "li", "--yes", code=1)
    assert corrections(stack) == [one], "another name, but the same account"
    stack.must("correction", "approve", one["id"], *approve, stdin="n\n", code=1)

    assert "is applied to customer" in stack.must("correction", "approve", one["id"][:8], *approve, "--yes")
    stack.settle()
    corrected = {"city": "深圳市", "city_code": "440300", "phone": "+8613912345678"}
    assert traits_of(stack) == corrected
    stack.must("correction", "approve", one["id"], "--author", "han", "--same-account", "--yes", code=1)
    stack.must("correction", "refuse", one["id"], "--reason", "late", "--author", "han", code=1)
    rows = stack.query(f"SELECT source, type, properties FROM events WHERE event_id = '{one['id']}'")
    assert [(source, kind, json.loads(str(properties))) for source, kind, properties in rows] == [
        ("operator", "identify",
         {"correction": one["id"], "author": "wang", "approved_by": "li", "reason": "told us by phone"}),
    ]  # fmt: skip

    # The corrected number is a trait: it joins nobody, and the former one still finds the customer.
    lines = stack.must("resolve", stdin="phone:+8613912345678\nphone:+8613712345678\nuser_id:corr-1").splitlines()
    new, former, user = (json.loads(line)["customer_id"] for line in lines)
    assert new is None
    assert former == user == one["customer_id"]

    # A lost answer after the approval: the touchpoint is written again, and is dropped.
    stack.query(
        f"ALTER TABLE corrections DELETE WHERE id = '{one['id']}' AND step = 'applied' SETTINGS mutations_sync = 1"
    )
    assert "is applied to customer" in stack.must("correction", "apply", one["id"], "--author", "han")
    stack.settle()
    assert stack.query(f"SELECT count() FROM events WHERE event_id = '{one['id']}'") == [(1,)]
    assert traits_of(stack) == corrected
    (one,) = corrections(stack)
    assert (one["state"], [step["step"] for step in one["steps"]]) == ("applied", ["requested", "approved", "applied"])


def test_a_refused_correction_changes_nothing(running_stack: RunningStack) -> None:
    stack = running_stack
    identify(stack, "corr-2", level="gold")
    stack.must("correction", "request", "user_id:corr-1", "level=silver", *WHY, "--author", "wang")
    one = next(one for one in corrections(stack) if one["state"] == "requested")
    assert "is refused" in stack.must("correction", "refuse", one["id"], "--reason", "it is gold", "--author", "li")
    stack.must("correction", "approve", one["id"], "--author", "han", "--same-account", "--yes", code=1)
    stack.must("correction", "apply", one["id"], code=1)
    assert traits_of(stack)["level"] == "gold"


def test_what_the_customer_said_since_the_request_is_shown_and_not_overwritten(running_stack: RunningStack) -> None:
    stack = running_stack
    identify(stack, "corr-3", city="上海")
    stack.must("correction", "request", "user_id:corr-1", "city=深圳", *WHY, "--author", "wang")
    one = next(one for one in corrections(stack) if one["state"] == "requested")
    identify(stack, "corr-4", city="北京")
    approve = ("correction", "approve", one["id"], "--author", "li", "--same-account", "--yes")

    refused = stack.must(*approve, code=1)
    assert 'city: "上海市" → "深圳市" (now "北京市")' in refused
    assert traits_of(stack)["city"] == "北京市"
    assert [one["state"] for one in corrections(stack)].count("approved") == 0

    stack.must(*approve, "--overwrite")
    stack.settle()
    assert traits_of(stack)["city"] == "深圳市"
