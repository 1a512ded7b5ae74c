"""The bench's proof finds every kind of difference; each is planted once. And what it prints of lag and memory."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer
import yaml
from rich.console import Console

from cli.bench import command, verdicts
from cli.bench import workload as workloads
from cli.bench.load import Sent
from cli.bench.report import Cost, cost_table, steadiness
from cli.bench.verdicts import VISITORS_LIMIT, judge_customers, judge_events, judge_triggers
from cli.bench.watch import Sample
from cli.bench.workload import Books, Workload
from deploy.local.exclusive import StackError
from services.chassis.settings import SettingsError

CONFIG = Path(__file__).resolve().parents[3] / "deploy" / "config"
U1, U2, V1, V2, V3 = "user_id:1", "user_id:2", "anonymous_id:1", "anonymous_id:2", "anonymous_id:3"
MAIL = "email:1"
Owners = dict[str, str]
Rows = list[dict[str, object]]


def books() -> Books:
    """User 1 with an address named visitor 1; both users named visitor 2; nobody named visitor 3."""
    return Books(
        users={U1, U2}, visitors={V1, V2, V3}, seen={V1, V3}, emails={MAIL: U1}, namers={V1: {U1}, V2: {U1, U2}},
        orders={U1, V1},
    )  # fmt: skip


OWNERS = {U1: "A", MAIL: "A", V1: "A", U2: "B", V2: "B", V3: "C"}
CHANGES: Rows = [
    *({"kind": "linked", "customer_id": name, "from_id": ""} for name in "ABCD"),
    {"kind": "merged", "customer_id": "A", "from_id": "D"},
]


def test_the_right_customers_and_merges_have_no_problems() -> None:
    verdict = judge_customers(books(), OWNERS, CHANGES)
    assert verdict.problems == ()
    assert verdict.found == "3 customers: 4 begun, 1 merged into another"


@pytest.mark.parametrize(
    ("said", "moved", "changes"),
    [
        ("1 users without a customer", {U2: ""}, CHANGES),
        ("1 users that share a customer", {U2: "A"}, CHANGES),
        ("1 e-mail addresses elsewhere", {MAIL: "B"}, CHANGES),
        ("1 visitors elsewhere", {V1: "D"}, CHANGES),  # never merged
        ("1 visitors elsewhere", {V1: "B"}, CHANGES),  # with a user who did not name him
        ("1 visitors elsewhere", {V3: "B"}, CHANGES),  # nobody named him
        ("1 visitors elsewhere", {V3: ""}, CHANGES),  # seen and lost
        ("1 customers merged away more than once", {}, [*CHANGES, CHANGES[-1]]),
        ("0 merges, but 4 customers begun and 3 left",
         {}, [*CHANGES[:-1], {"kind": "linked", "customer_id": "D", "from_id": ""}]),
    ],
)  # fmt: skip
def test_a_customer_or_merge_unlike_the_books_is_named(said: str, moved: Owners, changes: Rows) -> None:
    assert any(said in problem for problem in judge_customers(books(), OWNERS | moved, changes).problems)


def test_a_visitor_whom_only_full_users_named_may_stay_alone() -> None:
    crowd = {f"anonymous_id:c{n}": "A" for n in range(VISITORS_LIMIT - 1)}
    written = books()
    written.visitors |= crowd.keys()
    written.namers |= {name: {U1} for name in crowd}
    written.namers[V3] = {U1}
    assert judge_customers(written, OWNERS | crowd, CHANGES).problems == ()
    policy = yaml.safe_load((CONFIG / "identity.yaml").read_text())
    assert policy["kinds"]["anonymous_id"]["limit"] == VISITORS_LIMIT


def settle(events: list[dict[str, Any]], limit: int) -> tuple[Owners, Rows, Rows]:
    """Who is whom after these events in this order, by the rules of identity's README; its changes; first orders."""
    owner: Owners = {}
    members: dict[str, set[str]] = {}
    changes: Rows = []
    fired: Rows = []
    ordered: dict[str, bool] = {}

    def put(name: str, customer: str) -> None:
        owner[name] = customer
        members.setdefault(customer, set()).add(name)
        changes.append({"kind": "linked", "customer_id": customer, "from_id": ""})

    def refuses(customer: str, kind: str) -> bool:
        count = sum(name.startswith(kind) for name in members[customer])
        return count >= {"user_id": 1, "anonymous_id": limit}[kind]

    for n, event in enumerate(events):
        user, visitor = (event.get(key) and f"{kind}:{event[key]}" for key, kind in
                         (("userId", "user_id"), ("anonymousId", "anonymous_id")))  # fmt: skip
        primary = user or visitor
        if primary not in owner:
            joins = user and visitor in owner and not refuses(owner[visitor], "user_id")
            put(primary, owner[visitor] if joins else f"c{n}")
        mine = owner[primary]
        if event["type"] == "identify":
            put(f"email:{event['traits']['email']}", mine)
            his = owner.get(visitor)
            if his is None and not refuses(mine, "anonymous_id"):
                put(visitor, mine)
            elif his not in (None, mine) and members[his] == {visitor} and not refuses(mine, "anonymous_id"):
                first, last = sorted((mine, his), key=lambda name: int(name[1:]))
                owner.update(dict.fromkeys(members[last], first))
                members[first] |= members.pop(last)
                changes.append({"kind": "merged", "customer_id": first, "from_id": last})
                ordered[first] = ordered.get(first, False) or ordered.get(last, False)
                for row in fired:
                    row["customer_id"] = first if row["customer_id"] == last else row["customer_id"]
        if event.get("event") == "Order Completed" and not ordered.get(owner[primary]):
            ordered[owner[primary]] = True
            fired.append(trigger(f"t{n}", owner[primary]))
    return owner, changes, fired


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", [2, 200])
def test_whatever_order_the_workload_arrives_in_is_right(
    seed: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "VISITORS_LIMIT", limit)
    monkeypatch.setattr(workloads, "VISITORS", 200)
    workload = Workload(seed, "r")
    made = [event for body in islice(workload.batches(), 80) for event in json.loads(body)["batch"]]
    kept, events = workload.books, {event["messageId"]: event for event in made}
    arrived = [event for name, event in events.items() if name in kept.ids]
    Random(seed).shuffle(arrived)
    owner, changes, fired = settle(arrived, limit)
    owners = {name: owner.get(name, "") for name in kept.names()}
    assert sum(row["kind"] == "merged" for row in changes) > 5
    assert judge_customers(kept, owners, changes).problems == ()
    sent = [delivery(f"{row['trigger_id']}-{n}", str(row["trigger_id"])) for row in fired for n in range(2)]
    assert judge_triggers(kept.orders, owners, fired, sent).problems == ()


def trigger(name: str, customer: str, rule: str = "first-order") -> dict[str, object]:
    return {"trigger_id": name, "rule": rule, "customer_id": customer, "actions": 2}


def delivery(name: str, of: str, status: str = "delivered", error: str = "") -> dict[str, object]:
    return {"delivery_id": name, "trigger_id": of, "channel": "email", "status": status, "error": error}


TRIGGERS = [trigger("t1", "A")]
DELIVERIES = [delivery("d1", "t1"), delivery("d2", "t1", "suppressed", "no recipient: the profile has no address")]


def test_triggers_and_deliveries_as_the_books_say_have_no_problems() -> None:
    verdict = judge_triggers({U1, V1}, OWNERS, TRIGGERS, DELIVERIES)
    assert verdict.problems == ()
    assert "1 deliveries delivered, 1 not sent" in verdict.found
    before_the_merge = [*TRIGGERS, trigger("t2", "A")]
    both = [*DELIVERIES, delivery("d3", "t2"), delivery("d4", "t2")]
    assert judge_triggers({U1, V1}, OWNERS, before_the_merge, both).problems == ()


@pytest.mark.parametrize(
    ("said", "triggers", "deliveries"),
    [
        ("1 customers who ordered without a first-order", [], []),
        ("1 customers with more first orders", [trigger(f"t{n}", "A") for n in range(3)], DELIVERIES),
        ("1 customers with more first orders", [*TRIGGERS, trigger("t2", "B")], DELIVERIES),
        ("1 triggers of rules that the workload cannot fire", [*TRIGGERS, trigger("t2", "A", "vip")], DELIVERIES),
        ("1 triggers listed twice", TRIGGERS * 2, DELIVERIES),
        ("1 triggers without all their deliveries", TRIGGERS, DELIVERIES[:1]),
        ("1 deliveries listed twice", TRIGGERS, [DELIVERIES[0], DELIVERIES[0]]),
        ("1 deliveries failed or unknown", TRIGGERS, [DELIVERIES[0], delivery("d2", "t1", "failed", "refused")]),
        ("1 deliveries failed or unknown", TRIGGERS, [DELIVERIES[0], delivery("d2", "t1", "suppressed", "expired")]),
    ],
)
def test_a_trigger_or_delivery_unlike_the_books_is_named(said: str, triggers: Rows, deliveries: Rows) -> None:
    assert any(said in one for one in judge_triggers({U1, V1}, OWNERS, triggers, deliveries).problems)


def test_lost_and_repeated_events_are_named() -> None:
    assert judge_events({"n": 3, "u": 3}, 3).problems == ()
    assert judge_events({"n": 3, "u": 2}, 3).problems == ("2 different events for 3 accepted",)
    assert judge_events({"n": 2, "u": 2}, 3).problems[0] == "2 rows for 3 accepted events"


def test_the_workloads_books_know_everybody_in_it() -> None:
    workload = Workload(7, "r")
    made = [event for body in islice(workload.batches(), 30) for event in json.loads(body)["batch"]]
    kept, good = workload.books, [event for event in made if event["messageId"] in workload.books.ids]
    assert kept.users == {f"user_id:{event['userId']}" for event in good if "userId" in event}
    assert kept.visitors == {f"anonymous_id:{event['anonymousId']}" for event in good if "anonymousId" in event}
    assert set(kept.emails) == {f"email:{event['traits']['email']}" for event in good if event["type"] == "identify"}
    ordered = [event for event in good if event.get("event") == "Order Completed"]
    assert len(kept.orders) == len({event.get("userId", event.get("anonymousId")) for event in ordered}) > 0


def test_every_order_of_the_latency_run_has_its_deliveries() -> None:
    rule = yaml.safe_load((CONFIG / "rules" / "first-order.yaml").read_text())
    assert len(rule["then"]) == command.DELIVERIES_PER_ORDER
    assert [command.expected_deliveries(events) for events in (10, 40, 41, 30_000)] == [2, 2, 4, 1_500]


def samples(*seen: tuple[float, int, int]) -> list[Sample]:
    return [Sample(at_s, {"identity": lag}, {"identity": mib << 20}) for at_s, lag, mib in seen]


def test_lag_and_memory_are_told_as_figures_with_a_word() -> None:
    sent = Sent(started_s=0, ended_s=12)
    seen = samples((3, 9_000, 9), (5, 90, 500), (6, 100, 500), (7, 9_000, 900), (12, 900, 510), (15, 0, 900))
    assert steadiness(seen, sent, 1_000) == [
        "lag in the second third of the sending 100 records, in the last 900: flat",
        "memory in the second third of the sending 500 MiB, in the last 510 MiB: flat",
    ]
    grown = steadiness(samples((6, 100, 500), (12, 5_000, 600)), sent, 1_000)
    assert ["grew" in line for line in grown] == [True, True]
    assert "too short" in steadiness(samples((3, 0, 1)), sent, 1_000)[0]


def test_one_table_shows_each_stage_beside_its_floor() -> None:
    out = Console(width=100)
    with out.capture() as shown:
        out.print(cost_table([Cost("identity", 31.2, 50 << 20), Cost("broker", 9.0, 9 << 20)], {"identity": "12.5"}))
    (identity,) = (line for line in shown.get().splitlines() if "identity" in line)
    assert [cell.strip() for cell in identity.strip("│ ").split("│")] == ["identity", "31.2", "12.5", "50"]


@pytest.mark.parametrize("error", [StackError("port 8080 is taken by another stack"), SettingsError("partitions: no")])
def test_a_bench_that_cannot_start_says_why_without_a_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> object:
        raise error

    monkeypatch.setattr(command, "local_settings", refuse)
    started: Callable[[], None] = command.bench
    with pytest.raises(typer.Exit) as ended:
        started()
    assert ended.value.exit_code == 1
