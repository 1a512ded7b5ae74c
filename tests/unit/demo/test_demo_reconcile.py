"""The proof finds every kind of difference; each is planted once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cli.demo.acts import HISTORY, Planned
from cli.demo.facts import Facts, percentile
from cli.demo.promises import read_promises
from cli.demo.reconcile import Check, reconcile
from cli.demo.sender import DemoError
from tests.unit.demo.demo_builders import books, event, facts_of, node

EVENTS = [
    event("e1", "user_id:a", "anonymous_id:1", name="Registered"),
    event("e2", "anonymous_id:2"),
    event("e3", "user_id:a", "anonymous_id:2", order=("o1", 1_500)),
]
OTHERS = [event("e4", "user_id:b")]
PROMISES = read_promises({})


def differences(facts: Facts, events: list[Planned] | None = None) -> str:
    written = books(*(EVENTS + OTHERS if events is None else events))
    checks: list[Check] = reconcile(written, written.accounts(), facts, node, PROMISES)
    return "\n".join(line for check in checks for line in check.differences)


@pytest.fixture
def facts() -> Facts:
    return facts_of({"A": EVENTS, "B": OTHERS}, merged=["A2"])


def test_when_everything_is_right_nothing_differs(facts: Facts) -> None:
    assert differences(facts) == ""


Change = Callable[[Facts], Facts]
PLANTED: list[tuple[str, Change]] = [
    ("1 acknowledged but not in ClickHouse: e1", lambda f: replace(f, events=f.events[1:])),
    ("1 in ClickHouse more than once: e1", lambda f: replace(f, events=[*f.events, f.events[0]])),
    ("1 in ClickHouse but never acknowledged: e9",
     lambda f: replace(f, events=[*f.events, {**f.events[0], "event_id": "e9"}])),
    ("1 with another amount than was sent: e3",
     lambda f: replace(f, events=[{**e, "amount_minor": e["amount_minor"] // 100} for e in f.events])),
    ("1 people that were not merged", lambda f: replace(f, nodes=f.nodes | {node("anonymous_id:2"): "A2"})),
    ("1 customers that hold several people: A", lambda f: replace(f, nodes=f.nodes | {node("user_id:b"): "A"})),
    ("1 identifiers that nobody has: user_id:b",
     lambda f: replace(f, nodes={name: owner for name, owner in f.nodes.items() if owner == "A"})),
    ("1 identifiers that the demo did not send: x", lambda f: replace(f, nodes=f.nodes | {"x": "A"})),
    ("1 customers merged away more than once: A2", lambda f: replace(f, changes=[*f.changes, f.changes[-1]])),
    ("0 merges announced, 1 customers merged away", lambda f: replace(f, changes=f.changes[:-1])),
    ("1 profiles that differ: anonymous_id:1: expected (events, orders, net in fen) (3, 1, 1500), got (3, 2, 1500)",
     lambda f: replace(f, profiles=[{**f.profiles[0], "frequency": 2}, f.profiles[1]])),
    ("user_id:b has no profile", lambda f: replace(f, profiles=f.profiles[:1])),
    ("1 triggers that fired twice: t1", lambda f: replace(f, triggers=f.triggers * 2)),
    ("1 triggers whose deliveries are not all done: t1 (1 of 2)", lambda f: replace(f, deliveries=f.deliveries[:1])),
    ("1 triggers whose deliveries are not all done: t1 (0 of 2)",
     lambda f: replace(f, deliveries=[{**d, "status": "sending"} for d in f.deliveries])),
    ("1 deliveries listed twice: d1", lambda f: replace(f, deliveries=[*f.deliveries, f.deliveries[0]])),
    ("1 triggers that were due and did not fire: welcome of anonymous_id:1",
     lambda f: replace(f, triggers=[], deliveries=[])),
    ("1 triggers that fired for customers to whom none was due, or too often: welcome of user_id:b",
     lambda f: replace(f, triggers=[*f.triggers, {**f.triggers[0], "trigger_id": "t2", "customer_id": "B"}])),
    ("1 triggers that were due and did not fire: welcome of anonymous_id:1",
     lambda f: replace(f, triggers=[{**f.triggers[0], "customer_id": "B"}])),
    ("too often: first-order of anonymous_id:1",
     lambda f: replace(f, triggers=[*f.triggers, {**f.triggers[0], "trigger_id": "t2", "rule": "first-order"}])),
    ("1 triggers with deliveries that ClickHouse does not have: t1", lambda f: replace(f, triggers=[])),
]  # fmt: skip


@pytest.mark.parametrize(("said", "change"), PLANTED, ids=[said.partition(":")[0] for said, _ in PLANTED])
def test_a_planted_difference_is_named(facts: Facts, said: str, change: Change) -> None:
    assert said in differences(change(facts))


def test_the_shipped_rules_promise_a_welcome_and_a_first_order() -> None:
    assert [(promise.rule, promise.event, promise.is_first) for promise in read_promises({})] == [
        ("first-order", "Order Completed", True),
        ("welcome", "Registered", False),
    ]


def test_what_an_import_told_fires_nothing_and_takes_the_first_time_away() -> None:
    imported = [event("e1", "user_id:a", name=name, channel=HISTORY) for name in ("Registered", "Order Completed")]
    imported[1].message_id = "e2"
    live = [event("e3", "user_id:a", name="Registered"), event("e4", "user_id:a", name="Order Completed")]

    def due(*events: Planned) -> list[str]:
        (account,) = books(*events).accounts()
        return [promise.rule for promise in PROMISES if promise.is_due(account)]

    assert due(*imported) == []
    assert due(*imported, *live) == ["welcome"]
    assert due(*live) == ["first-order", "welcome"]


def test_only_rules_that_owe_everybody_one_trigger_are_promises(tmp_path: Path) -> None:
    for name, lines in {
        "once": "when: {event: A}\nlimits: {once_per_customer: true}",
        "always": "when: {event: A}",
        "tagged": "when: {tag_added: vip}\nlimits: {once_per_customer: true}",
        "choosy": "when: {event: A}\nif: '\"vip\" in profile.tags'\nlimits: {once_per_customer: true}",
        "either": "when: [{event: A}, {event: B}]\nlimits: {once_per_customer: true}",
    }.items():
        text = f"rule: {name}\n{lines}\nthen:\n  - webhook: {{destination: crm, template: default}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    folder = {"TOUCHSTREAM_RULES_FOLDER": str(tmp_path)}
    assert [promise.rule for promise in read_promises(folder)] == ["once"]
    (tmp_path / "once.yaml").write_text("rule: {")
    with pytest.raises(DemoError, match="cannot be read"):
        read_promises(folder)


def test_many_differences_are_counted_and_five_are_shown() -> None:
    events = [event(f"e{n}", f"user_id:{n}") for n in range(9)]
    facts = facts_of({f"C{n}": [one] for n, one in enumerate(events)})
    said = differences(replace(facts, events=[]), events)
    assert "9 acknowledged but not in ClickHouse: e0, e1, e2, e3, e4 and 4 more" in said


def test_percentiles_are_the_nearest_rank() -> None:
    ordered = list(range(1, 101))
    assert [percentile(ordered, share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert [percentile([7], share) for share in (0.5, 0.95, 0.99)] == [7, 7, 7]
