"""The handler on a store in memory: outputs, state, waiting for hand-overs, dead letters."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.chassis.avro import Codec
from services.chassis.errors import Fatal
from services.chassis.ids import partition_of, stable_id
from services.chassis.records import Decision, Record
from services.chassis.redis.slots import Slot
from services.rules.adapters import Wire
from services.rules.core.evaluate import RuleIndex
from services.rules.core.state import Customer, pack, unpack
from services.rules.core.syntax import parse_rules
from services.rules.handler import RulesHandler

PARTITIONS = 4
NOW_MS = 1_750_000_000_500
THEN = "then: [{email: {destination: mail, template: t}}]"
RULES = {
    "hello": f"rule: hello\nversion: 7\nwhen: {{event: Registered}}\n{THEN}",
    "once": f"rule: once\nwhen: {{event: Bought}}\nlimits: {{once_per_customer: true}}\n{THEN}",
    "care": f"rule: care\nwhen: {{tag_added: at_risk}}\n{THEN}",
}


def customer_in(partition: int, name: str = "c") -> str:
    """A customer id that lives in that partition."""
    return next(f"{name}{i}" for i in range(10_000) if partition_of(f"{name}{i}".encode(), PARTITIONS) == partition)


ANNA, BERT, CARL = customer_in(0, "anna"), customer_in(1, "bert"), customer_in(0, "carl")


def value_of(kind: str, customer: str, **fields: Any) -> bytes:
    stated = {
        "customer_id": customer, "kind": kind, "cause": "0.1.7", "occurred_at": 1, "accepted_at": NOW_MS - 500,
        "changed_at": NOW_MS - 100, "properties": b'{"total":5}', "profile": b'{"stage":"loyal"}', **fields,
    }  # fmt: skip
    return Codec("profile_change").encode(stated)


def record(kind: str, customer: str, when: str | None = None, **fields: Any) -> Record:
    headers = {} if when is None else {"when": when.encode()}
    return Record("profile.changes", 0, 5, customer.encode(), value_of(kind, customer, **fields), headers, NOW_MS)


def event(customer: str, name: str, cause: str = "0.1.7", **fields: Any) -> Record:
    return record("event", customer, f"{name}\x1f", name=name, cause=cause, **fields)


def gave(customer: str, *pieces: tuple[str, str, list[str]], **fields: Any) -> Record:
    listed = [{"handoff_id": handoff, "to_id": to, "nodes": nodes} for handoff, to, nodes in pieces]
    return record("gave", customer, "\x1fh", pieces=listed, properties=b"", **fields)


def took(customer: str, giver: str, handoff: str, **fields: Any) -> Record:
    return record("took", customer, "\x1fh", handoff_id=handoff, from_id=giver, cause=handoff, properties=b"", **fields)


@dataclass
class World:
    """All partitions over one store; applies decisions as the ledger would, and counts round trips."""

    data: dict[str, bytes] = field(default_factory=dict)
    waits: dict[int, dict[str, str]] = field(default_factory=lambda: {p: {} for p in range(PARTITIONS)})
    trips: list[list[str]] = field(default_factory=list)
    rules: RuleIndex = field(
        default_factory=lambda: RuleIndex(
            parse_rules({name: text.encode() for name, text in RULES.items()}), ZoneInfo("Asia/Shanghai")
        )
    )
    wire: Wire = field(default_factory=lambda: Wire("", PARTITIONS))

    def get_many(self, keys: list[str]) -> list[bytes | None]:
        self.trips.append(keys)
        return [self.data.get(key) for key in keys]

    def decide(self, partition: int, records: Sequence[Record]) -> Decision | None:
        handler = RulesHandler(Slot("rules", partition), self, self.waits[partition], lambda: self.rules, self.wire)
        return handler.decide(list(records), [], NOW_MS)

    def work(self, partition: int, *records: Record) -> list[dict[str, Any]]:
        """Decide and apply; the triggers written."""
        decision = self.decide(partition, records)
        if decision is None:
            return []
        for key, value in decision.sets.items():
            assert key.startswith(f"{{rules:{partition}}}:"), "one script writes to one slot"
            self.data[key] = value
        for key in decision.deletes + decision.late_deletes:
            del self.data[key]
        for customer, wait in decision.waits.items():
            if wait is None:
                del self.waits[partition][customer]
            else:
                self.waits[partition][customer] = wait
        return [Codec(o.topic.removesuffix("s")).decode(o.value) for o in decision.outputs if o.topic == "triggers"]

    def state(self, customer: str) -> Customer:
        partition = partition_of(customer.encode(), PARTITIONS)
        return unpack(self.data.get(Slot("rules", partition).key("c", customer)))


@pytest.fixture
def world() -> World:
    return World()


def test_a_trigger_carries_what_notify_and_the_archive_need(world: World) -> None:
    decision = world.decide(0, [event(ANNA, "Registered", event_id="e1")])
    assert decision is not None
    (output,) = decision.outputs
    trigger = Codec("trigger").decode(output.value)
    assert (output.topic, output.key, output.headers) == ("triggers", ANNA.encode(), [("src", b"0.1.7")])
    assert output.partition == partition_of(ANNA.encode(), PARTITIONS)
    assert json.loads(trigger.pop("actions")) == [
        {"channel": "email", "destination": "mail", "template": "t", "params": {}}
    ]
    assert trigger == {
        "trigger_id": stable_id("hello", "7", "0.1.7"), "rule": "hello", "rule_version": "7", "customer_id": ANNA,
        "anchor": "0.1.7", "cause": "0.1.7", "event_id": "e1", "name": "Registered", "fired_at": NOW_MS,
        "accepted_at": NOW_MS - 500, "profile": b'{"stage":"loyal"}', "properties": b'{"total":5}',
    }  # fmt: skip


def test_absent_json_becomes_an_empty_object(world: World) -> None:
    (trigger,) = world.work(
        0, record("tick", ANNA, "\x1ft", tags_added=["at_risk"], tag_anchors=["0.0.1"], profile=b"", properties=b"")
    )
    assert (trigger["profile"], trigger["properties"]) == (b"{}", b"{}")


def test_what_no_rule_names_costs_no_decoding_and_no_round_trip(world: World) -> None:
    broken = Record("profile.changes", 0, 5, b"x", b"not avro", {"when": b"Page Viewed\x1f"}, NOW_MS)
    decision = world.decide(0, [broken, event(ANNA, "Page Viewed")])
    assert decision == Decision()
    assert world.trips == []


def test_events_without_limits_need_no_state(world: World) -> None:
    assert len(world.work(0, event(ANNA, "Registered"))) == 1
    assert (world.trips, world.data) == ([], {})


def test_a_batch_loads_its_customers_in_one_round_trip(world: World) -> None:
    world.work(0, event(ANNA, "Bought"), event(CARL, "Bought"), took(CARL, BERT, "h1"), event(ANNA, "Bought", "0.1.8"))
    assert [len(keys) for keys in world.trips] == [3]


def test_once_per_customer_holds_across_batches(world: World) -> None:
    assert len(world.work(0, event(ANNA, "Bought", "0.1.1"), event(ANNA, "Bought", "0.1.2"))) == 1
    assert world.work(0, event(ANNA, "Bought", "0.1.3")) == []
    assert world.state(ANNA).fires == {"once": {"0.1.1": NOW_MS - 500}}


def test_the_same_batch_gives_the_same_decision(world: World) -> None:
    broken = Record("profile.changes", 0, 5, b"x", b"not avro", {"when": b"Bought\x1f"}, NOW_MS)
    batch = [event(ANNA, "Bought"), broken, gave(ANNA, ("h1", BERT, []))]
    assert world.decide(0, batch) == world.decide(0, batch)


def test_nothing_to_do_is_no_decision(world: World) -> None:
    assert world.decide(0, []) is None


def test_a_merge_hands_the_limits_over(world: World) -> None:
    world.work(0, event(ANNA, "Bought", "0.1.1"))
    world.work(0, gave(ANNA, ("h1", BERT, [])))
    assert list(world.data) == ["{rules:0}:give:h1:" + BERT], "the giver is gone, its fires lie ready"
    assert world.work(1, took(BERT, ANNA, "h1"), event(BERT, "Bought", "0.1.2")) == []
    assert world.state(BERT).fires == {"once": {"0.1.1": NOW_MS - 500}}
    assert list(world.data) == ["{rules:1}:c:" + BERT]


def test_a_customer_that_takes_before_it_is_given_waits_and_others_go_on(world: World) -> None:
    other = customer_in(1, "other")
    world.work(0, event(ANNA, "Bought", "0.1.1"))
    batch = [took(BERT, ANNA, "h1"), event(BERT, "Bought", "0.1.2"), event(other, "Bought", "0.1.3")]
    assert [trigger["customer_id"] for trigger in world.work(1, *batch)] == [other]
    assert world.work(1, event(BERT, "Registered", "0.1.4")) == []
    assert world.waits[1] == {BERT: "{rules:0}:give:h1:" + BERT}
    assert world.decide(1, []) is None, "still not there: nothing is written"
    world.work(0, gave(ANNA, ("h1", BERT, [])))
    assert [trigger["anchor"] for trigger in world.work(1)] == ["0.1.4"], "bought is held back by what Anna had fired"
    assert (world.waits[1], world.state(BERT).queue) == ({}, [])
    assert world.data.keys() == {"{rules:1}:c:" + other, "{rules:1}:c:" + BERT}


def test_records_that_come_with_the_hand_over_stay_behind_those_that_waited(world: World) -> None:
    world.work(1, took(BERT, ANNA, "h1"), event(BERT, "Registered", "0.1.1"))
    world.work(0, gave(ANNA, ("h1", BERT, [])))
    triggers = world.work(1, event(BERT, "Registered", "0.1.2"), event(BERT, "Registered", "0.1.3"))
    assert [trigger["anchor"] for trigger in triggers] == ["0.1.1", "0.1.2", "0.1.3"]


def test_a_giver_that_waits_itself_gives_only_when_it_is_whole(world: World) -> None:
    dora = customer_in(2, "dora")
    world.work(0, event(ANNA, "Bought", "0.1.1"))
    world.work(2, took(dora, BERT, "h2"), event(dora, "Bought", "0.1.2"))
    world.work(1, took(BERT, ANNA, "h1"), gave(BERT, ("h2", dora, [])))
    assert world.work(2) == []
    world.work(0, gave(ANNA, ("h1", BERT, [])))
    world.work(1)
    assert world.work(2) == []
    assert world.state(dora).fires == {"once": {"0.1.1": NOW_MS - 500}}
    assert [*world.data] == ["{rules:2}:c:" + dora]


def test_give_and_take_in_one_batch_never_touch_the_store(world: World) -> None:
    world.work(0, event(ANNA, "Bought", "0.1.1"))
    assert world.work(0, took(CARL, ANNA, "h1"), event(CARL, "Bought", "0.1.2"), gave(ANNA, ("h1", CARL, []))) == []
    assert [*world.data] == ["{rules:0}:c:" + CARL]
    assert (world.waits[0], world.state(CARL).fires) == ({}, {"once": {"0.1.1": NOW_MS - 500}})


def test_two_hand_overs_in_a_row_are_waited_for_one_after_the_other(world: World) -> None:
    dora = customer_in(2, "dora")
    world.work(1, took(BERT, ANNA, "h1"), took(BERT, dora, "h2"), event(BERT, "Registered"))
    world.work(2, gave(dora, ("h2", BERT, [])))
    assert world.work(1) == []
    world.work(0, gave(ANNA, ("h1", BERT, [])))
    triggers = world.work(1) + world.work(1)
    assert ([trigger["rule"] for trigger in triggers], world.data, world.waits[1]) == (["hello"], {}, {})


def test_a_split_leaves_the_limits_on_both_sides(world: World) -> None:
    world.work(0, event(ANNA, "Bought", "0.1.1"))
    world.work(0, gave(ANNA, ("h1", BERT, ["phone:1"]), ("h2", CARL, ["phone:2"])))
    assert world.work(1, took(BERT, ANNA, "h1"), event(BERT, "Bought", "0.1.2")) == []
    assert world.work(0, took(CARL, ANNA, "h2"), event(CARL, "Bought", "0.1.3"), event(ANNA, "Bought", "0.1.4")) == []


def test_a_tag_that_a_hand_over_brings_fires_for_the_taker(world: World) -> None:
    world.work(0, gave(ANNA, ("h1", BERT, [])))
    (trigger,) = world.work(1, took(BERT, ANNA, "h1", tags_added=["at_risk"], tag_anchors=["0.0.1"]))
    assert (trigger["rule"], trigger["anchor"]) == ("care", "0.0.1+at_risk")


def test_an_erased_customer_leaves_nothing_behind(world: World) -> None:
    world.work(0, event(ANNA, "Bought", "0.1.1"))
    world.work(0, record("erased", ANNA, "\x1fh", profile=b"", properties=b""))
    assert world.data == {}


@pytest.mark.parametrize("value", [None, b"", b"not avro", value_of("event", ANNA)[:-1]])
def test_what_cannot_be_read_becomes_a_dead_letter_and_the_rest_goes_on(world: World, value: bytes | None) -> None:
    broken = Record("profile.changes", 0, 5, ANNA.encode(), value, {"when": b"Registered\x1f"}, NOW_MS)
    decision = world.decide(0, [broken, event(ANNA, "Registered")])
    assert decision is not None
    assert [output.topic for output in decision.outputs] == ["rules.dead", "triggers"]
    dead = Codec("dead_letter").decode(decision.outputs[0].value)
    assert dead["failed_at"] == NOW_MS, "the time that decide was given, no clock's"
    assert (dead["service"], dead["topic"], dead["offset"], dead["value"]) == (
        "rules",
        "profile.changes",
        5,
        value or b"",
    )


@pytest.mark.parametrize(
    ("headers", "why"),
    [({"when": b"\x1fh"}, "says that it is a hand-over"), ({}, "is missing, so it may be a hand-over")],
)
@pytest.mark.parametrize("poison", ["", "processing it ended the process 3 times"])
def test_what_may_be_a_hand_over_and_cannot_be_read_stops_the_line(
    world: World, headers: dict[str, bytes], why: str, poison: str
) -> None:
    """As a dead letter the one would leave its taker waiting for ever, the other lose what was given."""
    broken = Record("profile.changes", 0, 5, ANNA.encode(), b"\0" + b"newer schema", headers, NOW_MS, poison)
    with pytest.raises(Fatal, match=rf"profile.changes partition 0 offset 5: .*{why}.*Upgrade rules"):
        world.decide(0, [broken, event(ANNA, "Registered")])


def test_a_hand_over_at_which_the_process_died_is_worked_all_the_same(world: World) -> None:
    world.work(0, event(ANNA, "Bought", "0.1.1"))
    killer = gave(ANNA, ("h1", BERT, []))
    killer.poison = "processing it ended the process 3 times"
    world.work(0, killer)
    assert list(world.data) == ["{rules:0}:give:h1:" + BERT]


@pytest.mark.parametrize("headers", [{}, {"when": b"Registered\x1f"}])
def test_an_event_that_killed_the_process_is_put_aside(world: World, headers: dict[str, bytes]) -> None:
    killer = event(ANNA, "Registered")
    killer.headers, killer.poison = headers, "processing it ended the process 3 times"
    decision = world.decide(0, [killer])
    assert decision is not None
    assert [output.topic for output in decision.outputs] == ["rules.dead"]


def test_a_record_that_killed_the_process_is_put_aside_even_when_no_rule_cares(world: World) -> None:
    killer = event(ANNA, "Page Viewed")
    killer.poison = "processing it ended the process 3 times"
    decision = world.decide(0, [killer])
    assert decision is not None
    assert Codec("dead_letter").decode(decision.outputs[0].value)["error"] == killer.poison


def test_a_state_of_another_version_stops_the_service_with_advice(world: World) -> None:
    world.data[Slot("rules", 0).key("c", ANNA)] = pack({}).replace(b"\x01", b"\x09", 1)
    with pytest.raises(Fatal, match=r"rules partition 0: rules state of version 9.*restore Redis"):
        world.decide(0, [event(ANNA, "Bought")])


def test_new_rules_count_for_what_waited_under_the_old_ones(world: World) -> None:
    world.work(1, took(BERT, ANNA, "h1"), event(BERT, "Registered"))
    renamed = RULES["hello"].replace("rule: hello", "rule: salute").encode()
    world.rules = RuleIndex(parse_rules({"salute": renamed}), ZoneInfo("Asia/Shanghai"))
    world.work(0, gave(ANNA, ("h1", BERT, [])))
    assert [trigger["rule"] for trigger in world.work(1)] == ["salute"]
