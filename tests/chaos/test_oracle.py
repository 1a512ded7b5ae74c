"""The oracle must be able to fail: a small world in which everything is right, and one thing at a time made wrong."""

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import pytest

from tests.chaos.rig.graph import node_text
from tests.chaos.rig.journal import Journal
from tests.chaos.rig.messages import EVENT, ORDER, Message
from tests.chaos.rig.observation import Observation, Row
from tests.chaos.rig.oracle import differences
from tests.chaos.rig.receiver import Received
from tests.chaos.rig.workload import Manners, Plan

USERS = ("user_id:a", "user_id:b")
RULES = ("order", "first-order")


class World:
    """Two customers with one order each, and one piece of garbage that was refused."""

    def __init__(self, folder: Path) -> None:
        self.plan = Plan(1, "s1.", {}, 1_800_000_000_000, Manners())
        orders = [
            Message(f"e{i}", EVENT, "track", ORDER, (user,), 1_000 + i, f"o{i}", 500) for i, user in enumerate(USERS)
        ]
        self.plan.batches.append(orders)
        garbage = [message.event_id for batch in self.plan.batches for message in batch if not message.identifiers]
        self.plan.messages |= {order.event_id: order for order in orders}
        self.journal = Journal(folder / "journal.jsonl")
        self.journal.sending("r", "", [*garbage, *(order.event_id for order in orders)])
        self.journal.answered("r", [order.event_id for order in orders], garbage)
        self.seen = Observation(self.records(orders, garbage), [])
        self.tables(orders)

    def records(self, orders: list[Message], garbage: list[str]) -> dict[str, list[Row]]:
        resolved, changes, profiles = [], [], []
        for i, order in enumerate(orders):
            node = node_text(order.primary)
            place = {"key": f"c{i}", "at": f"x/0@{i}"}
            resolved.append({**place, "kind": "event", "n": 1, "event_id": order.event_id, "name": ORDER, "node": node})
            changes.append({**place, "g": i + 1, "kind": "linked", "event_id": order.event_id, "cause": f"1.0.{i}"})
            profiles.append({**place, **profile(order), "nodes": [node], "rev": 1, "deleted": False})
        triggers = [trigger(rule, i, order) for i, order in enumerate(orders) for rule in RULES]
        return {
            "touchpoints.resolved": resolved, "identity.changes": changes, "profiles": profiles, "triggers": triggers,
            "touchpoints.rejected": [{"raw": json.dumps({"messageId": event})} for event in garbage],
            "deliveries": [{"trigger_id": one["trigger_id"]} for one in triggers],
        }  # fmt: skip

    def tables(self, orders: list[Message]) -> None:
        seen = self.seen
        for i, order in enumerate(orders):
            customer, node = f"c{i}", node_text(order.primary)
            seen.events.append({"event_id": order.event_id, "customer_id": customer})
            seen.owners[order.event_id] = seen.graph[node] = seen.identifiers[node] = customer
            times = {"first_ms": order.occurred_ms, "last_ms": order.occurred_ms}
            seen.customers[customer] = {**profile(order), **times, "nodes": [node]}
        for one in seen.records["triggers"]:
            delivery = "d" + one["trigger_id"]
            seen.triggers.append(one)
            seen.deliveries.append({"trigger_id": one["trigger_id"], "status": "delivered", "delivery_id": delivery})
            seen.received.append(Received(delivery, one["trigger_id"], one["rule"], b"{}"))

    def wrong(self) -> str:
        return "\n".join(differences(self.plan, self.journal, self.seen))


def profile(order: Message) -> Row:
    times = {"first_seen": order.occurred_ms, "last_seen": order.occurred_ms}
    return {"events": 1, "frequency": 1, "monetary_minor": 500, "traits": "{}", **times}


def trigger(rule: str, place: int, order: Message) -> Row:
    anchor = f"1.0.{place}"
    made = blake2b(f"{rule}\0v\0{anchor}".encode(), digest_size=16).hexdigest()
    return {"trigger_id": made, "rule": rule, "rule_version": "v", "anchor": anchor, "event_id": order.event_id}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_world_in_which_everything_is_right_has_no_difference(world: World) -> None:
    assert world.wrong() == ""


def lose_an_event(world: World) -> None:
    world.seen.events.pop()


def double_an_event(world: World) -> None:
    world.seen.events.append(world.seen.events[0])


def forget_a_refusal(world: World) -> None:
    world.seen.records["touchpoints.rejected"].pop()


def put_a_dead_letter(world: World) -> None:
    world.seen.records["rules.dead"] = [{"at": "rules.dead/0@0"}]


def leave_a_hole_in_a_log(world: World) -> None:
    world.seen.records["touchpoints.resolved"][0]["n"] = 2


def lose_a_change(world: World) -> None:
    world.seen.records["identity.changes"][1]["g"] = 3


def announce_a_merge_nobody_made(world: World) -> None:
    change = {"g": 3, "kind": "merged", "cause": "1.0.9.0", "event_id": "e0", "key": "c0"}
    world.seen.records["identity.changes"].append(change)


def put_two_people_together(world: World) -> None:
    world.seen.owners["e1"] = "c0"


def miscount_money(world: World) -> None:
    world.seen.customers["c0"]["monetary_minor"] = 1_000


def let_the_topic_disagree(world: World) -> None:
    world.seen.records["profiles"][0]["events"] = 2


def lose_a_node_in_redis(world: World) -> None:
    world.seen.graph.popitem()


def lose_a_trigger(world: World) -> None:
    world.seen.records["triggers"].pop()


def fire_twice(world: World) -> None:
    world.seen.records["triggers"].append(world.seen.records["triggers"][0])


def make_up_an_id(world: World) -> None:
    world.seen.records["triggers"][0]["trigger_id"] = "0" * 32


def lose_a_delivery(world: World) -> None:
    world.seen.received.pop()


def deliver_under_two_ids(world: World) -> None:
    first = world.seen.received[0]
    world.seen.received.append(Received("another", first.trigger_id, first.rule, first.body))


def find_a_duplicate(world: World) -> None:
    world.seen.duplicates.append({"table": "events", "copies": 1})


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (lose_an_event, "events"),
        (double_an_event, "events"),
        (forget_a_refusal, "rejected"),
        (put_a_dead_letter, "dead letters"),
        (leave_a_hole_in_a_log, "logs"),
        (lose_a_change, "merges"),
        (announce_a_merge_nobody_made, "merges"),
        (put_two_people_together, "partition"),
        (miscount_money, "customers"),
        (let_the_topic_disagree, "profiles"),
        (lose_a_node_in_redis, "graph"),
        (lose_a_trigger, "triggers"),
        (fire_twice, "triggers"),
        (make_up_an_id, "triggers"),
        (lose_a_delivery, "deliveries"),
        (deliver_under_two_ids, "deliveries"),
        (find_a_duplicate, "duplicates_daily"),
    ],
)
def test_one_thing_made_wrong_is_named(world: World, break_it: Callable[[World], None], kind: str) -> None:
    break_it(world)
    assert f"{kind}: " in world.wrong()


def test_an_event_nobody_knows_of_may_be_there_once_or_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.journal.acked.pop("e1")
    assert world.wrong() == ""
    double_an_event(world)
    assert "events: e0" in world.wrong()
