"""The oracle's own graph and its replay of the rules: what they say of small stories told by hand."""

from typing import Any

from tests.chaos.rig.graph import Graph, graph_of
from tests.chaos.rig.messages import ERASE, EVENT, ORDER, REGISTERED, UNLINK, Message
from tests.chaos.rig.replay import Replay


def said(event: str, *identifiers: str, what: str = EVENT) -> Message:
    return Message(event, what, "track", "", identifiers, 0)


def customers(graph: Graph) -> list[list[str]]:
    return sorted(sorted(one) for one in graph.customers())


def test_identifiers_said_together_are_one_customer_in_any_order() -> None:
    messages = [said("1", "user_id:a", "email:x"), said("2", "user_id:b", "email:x"), said("3", "user_id:c")]
    assert customers(graph_of(messages, [])) == [["email:x", "user_id:a", "user_id:b"], ["user_id:c"]]
    assert customers(graph_of(messages[::-1], [])) == customers(graph_of(messages, []))


def test_unlink_takes_the_hub_out_and_what_comes_later_links_again() -> None:
    line = [said("1", "user_id:a", "device_id:d"), said("2", "user_id:a", "device_id:e")]
    line += [said("3", "user_id:a", what=UNLINK), said("4", "user_id:a", "device_id:e")]
    assert customers(graph_of([], [line])) == [["device_id:d"], ["device_id:e", "user_id:a"]]


def test_what_comes_after_an_erasure_counts_for_nobody() -> None:
    graph = graph_of(
        [], [[said("1", "user_id:a", "device_id:d"), said("2", "user_id:a", what=ERASE), said("3", "user_id:a")]]
    )
    assert not graph.customers()
    assert graph.erased == {"user_id:a", "device_id:d"}
    assert graph.dropped == {"3"}


def event(event_id: str, name: str, node: str) -> dict[str, Any]:
    return {"kind": "event", "event_id": event_id, "name": name, "node": node}


def give(handoff: str, *nodes: str) -> dict[str, Any]:
    return {"kind": "give", "pieces": [{"handoff_id": handoff, "nodes": list(nodes)}]}


def take(handoff: str) -> dict[str, Any]:
    return {"kind": "take", "handoff_id": handoff}


def test_a_rule_once_per_customer_does_not_fire_again_after_a_merge() -> None:
    logs = {"A": [event("1", ORDER, "a"), give("h")], "B": [take("h"), event("2", ORDER, "b")]}
    assert sorted(Replay(logs).run().fired) == [("first-order", "1"), ("order", "1"), ("order", "2")]


def test_each_of_two_customers_has_a_first_order_before_they_merge() -> None:
    logs = {"A": [event("1", ORDER, "a"), give("h")], "B": [event("2", ORDER, "b"), take("h")]}
    assert ("first-order", "2") in Replay(logs).run().fired


def test_a_tag_moves_with_the_part_that_began_it() -> None:
    split = {"A": [event("1", REGISTERED, "a"), give("h", "a"), event("2", REGISTERED, "b")], "B": [take("h")]}
    fired = Replay(split).run().fired
    assert [one for one in fired if one[0] == "newcomer"] == [("newcomer", "1"), ("newcomer", "2")]


def test_a_hand_over_that_never_came_leaves_its_customer_stuck() -> None:
    assert Replay({"B": [take("h"), event("2", ORDER, "b")]}).run().stuck == ["B"]
