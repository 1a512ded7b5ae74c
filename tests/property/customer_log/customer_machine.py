"""profile on a ledger, fed by a graph that merges, splits and erases, with everything that can go wrong.

After quiet, with the wall clock standing still: every line of profile.changes and every part, byte for byte, is what
one machine makes of the graph's order. With days passing in between: the same parts, nothing announced twice, nothing
left behind, and what is held true is what follows from the parts now.
"""

import json
from collections import Counter, defaultdict
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.chassis.avro import Codec
from services.chassis.ids import partition_of
from services.chassis.kafka.line import LedgerWorker
from services.chassis.kafka.loop import LoopConfig
from services.chassis.redis.claim import Claim, Verdict, accept
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_kafka import SendFailure
from services.chassis.testing.simulation import START_MS, Service, Simulation
from services.profile import handler as profile
from services.profile.core.customer_log import CustomerState
from services.profile.core.judgement import judgement
from services.profile.core.state import encode
from services.profile.core.tags import conclude
from services.profile.states import Packer
from services.profile.sweep import Sweep
from tests.property.customer_log.graph_feed import PARTITIONS, SOURCES, TOPIC, Feed
from tests.property.customer_log.naive_profile import NaiveProfile
from tests.unit.profile.profile_builders import CONFIG, CUTS, STICKY

DAY_MS = 86_400_000
IDS = [f"{kind}:{number}" for kind in ("user_id", "phone", "email", "anonymous_id") for number in range(3)]
NAMES = ("Order Completed", "Order Completed", "Registered", "Page Viewed", "Content Shared", "Order Refunded")
STATES = Packer()
DECODERS = {name: Codec(name) for name in ("profile_change", "profile", "dead_letter")}


class Standing(Simulation):
    """The wall clock moves only when told to: what is decided then does not depend on when it is decided."""

    wall_ms = START_MS

    def now_ms(self) -> int:
        return self.wall_ms


def open_handler(claim: Claim, ledger: Ledger) -> LedgerWorker:
    handler = profile.ProfileHandler(claim.slot, ledger, claim.waits, CONFIG, PARTITIONS, lambda: CUTS, 0)
    return LedgerWorker(claim, ledger, handler, Sweep(claim.slot, ledger, lambda: CUTS, handler.refolds).some)


PROFILE = Service(LoopConfig("profile", TOPIC, batch_max=6), PARTITIONS, open_handler)
process = st.integers(0, 1)
partition = st.integers(0, PARTITIONS - 1)
choice = st.fixed_dictionaries(dict.fromkeys(range(PARTITIONS), process))
point = st.one_of(
    st.tuples(st.sampled_from(["script before", "script after", "deliver"]), st.integers(1, 3)),
    st.tuples(st.just(""), st.integers(1, 30)),
)
seconds = st.sampled_from([0, 0.3, 0.6, 1.1])
a_touch = st.tuples(
    st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True).map(tuple),
    st.sampled_from(NAMES),
    st.sampled_from([0, 0, 1, 35, 95, 185, 370]),
    st.integers(1, 4_000),
    st.sampled_from([True] * 7 + [False]),
)


class CustomerMachine(RuleBasedStateMachine):
    """Customers that live in three partitions while processes come and go."""

    has_time: ClassVar[bool] = False
    service: ClassVar[Service] = PROFILE

    @initialize()
    def begin(self) -> None:
        self.simulation = Standing([self.service], 2)
        self.feed, self.naive = Feed(), NaiveProfile(START_MS)
        self.number = 0

    # -- what the graph decides
    @rule(touches=st.lists(a_touch, min_size=1, max_size=6))
    def touch(self, touches: list[tuple[tuple[str, ...], str, int, int, bool]]) -> None:
        for ids, name, days, amount, is_readable in touches:
            self.number += 1
            touchpoint: dict[str, Any] = {
                "event_id": f"e{self.number}", "source": "shop", "type": "track", "name": name,
                "identifiers": list(ids), "occurred_at": self.simulation.wall_ms - days * DAY_MS,
                "received_at": self.simulation.wall_ms, "amount_minor": amount, "currency": "CNY",
                "traits": json.dumps({f"t{amount % 3}": amount}).encode(),
            }  # fmt: skip
            self.decide("event", ids, touchpoint if is_readable else None)

    @rule(identifier=st.sampled_from(IDS), kind=st.sampled_from(["unlink", "unlink", "erase"]))
    def change_the_graph(self, identifier: str, kind: str) -> None:
        self.decide(kind, (identifier,), {"received_at": self.simulation.wall_ms})

    def decide(self, kind: str, ids: tuple[str, ...], touchpoint: dict[str, Any] | None) -> None:
        self.naive.step(self.feed.decide(kind, ids, touchpoint), touchpoint)

    @rule(source=st.integers(0, SOURCES - 1), to=partition, count=st.integers(1, 8))
    def arrive(self, source: int, to: int, count: int) -> None:
        """Some of what identity has sent reaches the log."""
        queue = self.feed.queues[source, to]
        for record in queue[:count]:
            self.simulation.broker.append(record)
        del queue[:count]

    @rule(places=st.lists(partition, min_size=1, max_size=3))
    def arrive_and_work(self, places: list[int]) -> None:
        for target in places:
            for source in range(SOURCES):
                self.arrive(source, target, 8)
            self.simulation.round(self.simulation.owner(self.service, target))

    # -- work, and what goes wrong
    @rule(numbers=st.lists(process, min_size=1, max_size=4), seconds=seconds)
    def work(self, numbers: list[int], seconds: float) -> None:
        self.simulation.pass_time(seconds)
        for number in numbers:
            self.simulation.round(number)

    @precondition(lambda self: self.has_time)
    @rule(days=st.sampled_from([1, 20, 31, 60, 91, 181, 366]))
    def days_pass(self, days: int) -> None:
        self.simulation.wall_ms += days * DAY_MS

    @rule(to=partition, at=point, seconds=seconds)
    def crash(self, to: int, at: tuple[str, int], seconds: float) -> None:
        number = self.simulation.owner(self.service, to)
        self.simulation.crash(number, *at)
        self.simulation.pass_time(seconds)
        self.simulation.round(number)

    @rule(to=partition, at=point, choice=choice, rounds=st.lists(process, max_size=4), dies=st.booleans())
    def freeze(self, to: int, at: tuple[str, int], choice: dict[int, int], rounds: list[int], dies: bool) -> None:
        number = self.simulation.owner(self.service, to)

        def meanwhile() -> None:
            self.simulation.rebalance(self.service, {**choice, to: number + 1})
            for other in [number + 1, *rounds]:
                self.simulation.round(other % 2)

        self.simulation.freeze(number, *at, meanwhile, dies)
        self.simulation.round(number)

    @rule(choice=choice)
    def rebalance(self, choice: dict[int, int]) -> None:
        self.simulation.rebalance(self.service, choice)

    @rule(to=partition, at=st.integers(1, 6), arrives=st.booleans(), late=st.booleans())
    def lose_a_send(self, to: int, at: int, arrives: bool, late: bool) -> None:
        number = self.simulation.owner(self.service, to)
        self.simulation.lose_send(number, at, SendFailure(arrives, late))
        self.simulation.round(number)

    # -- what must hold at any moment, since one script changes it
    @invariant()
    def timers_and_waits_tell_the_truth(self) -> None:
        for number in range(PARTITIONS) if hasattr(self, "simulation") else ():
            slot, server = Slot("profile", number), self.simulation.server
            for member in server.zsets.get(slot.due, {}):
                state = STATES.decode(server.strings[slot.key("c", member)])
                assert (state.held, state.wait) == ({}, ""), "a timer of a customer that is not complete"
            for member, key in server.hashes.get(slot.waits, {}).items():
                assert STATES.decode(server.strings[slot.key("c", member)]).wait == key.decode()

    # -- what must hold in the end
    def teardown(self) -> None:
        if not hasattr(self, "simulation"):
            return
        try:
            for source, target in list(self.feed.queues):
                self.arrive(source, target, len(self.feed.queues[source, target]))
            self.simulation.settle()
            self.naive.now_ms = self.simulation.wall_ms
            self.check_states()
            self.check_lines()
            self.check_snapshots()
            self.check_dead_letters()
        finally:
            self.simulation.close()

    def states(self) -> dict[str, CustomerState]:
        found = {}
        for number in range(PARTITIONS):
            prefix = Slot("profile", number).key("c", "")
            for key, value in self.simulation.server.strings.items():
                if key.startswith(prefix):
                    found[key[len(prefix) :]] = STATES.decode(value)
        return found

    def check_states(self) -> None:
        server, states = self.simulation.server, self.states()
        assert not [key for key in server.strings if ":give:" in key], "hand-overs left behind"
        assert states.keys() == self.naive.people.keys()
        timers = {member: int(at_ms) for found in server.zsets.values() for member, at_ms in found.items()}
        for name, person in self.naive.people.items():
            state = states[name]
            assert (state.n, state.held, state.wait) == (person.n, {}, "")
            parts = {node: encode(part) for node, part in person.parts().items()}
            assert {node: encode(part) for node, part in state.parts.items()} == parts
            assert (state.conclusion is None) == (not any(person.lines))
            assert timers.pop(name, None) == self.naive.due_ms(person)
            if state.conclusion is not None:
                judged = judgement(tuple(state.parts.values()), self.simulation.wall_ms, CUTS, CONFIG)
                fresh, _ = conclude(judged.facts, [], "", 0, CONFIG)
                assert state.conclusion.stage == fresh.stage
                assert fresh.tags.keys() <= state.conclusion.tags.keys() <= fresh.tags.keys() | STICKY
            if not self.has_time:
                assert state.conclusion == person.conclusion
        assert timers == {}, "timers of customers that do not exist"

    def accepted(self, topic: str, record: str) -> list[dict[str, Any]]:
        """What a reader of the topic takes, decoded, in order per partition."""
        found = []
        for number in range(PARTITIONS):
            seen: dict[str, int] = {}
            for one in self.simulation.broker.logs[topic, number]:
                verdict = accept(seen, one)
                assert verdict is not Verdict.GAP
                if verdict is Verdict.TAKE:
                    assert number == partition_of(one.key, PARTITIONS)
                    found.append(DECODERS[record].decode(one.value))
        return found

    def check_lines(self) -> None:
        lines = defaultdict(list)
        for line in self.accepted("profile.changes", "profile_change"):
            lines[line["customer_id"]].append(line)
        self.check_tags(lines)
        everybody = self.naive.people | self.naive.ended
        assert lines.keys() == {name for name, person in everybody.items() if person.lines}
        for name, person in everybody.items():
            found = [line for line in lines[name] if line["kind"] != "tick"]
            keys = ("kind", "cause", "event_id", "handoff_id", "from_id", "pieces", "first", "node")
            if not self.has_time and person.lines:
                keys = tuple(person.lines[0])
                assert len(found) == len(lines[name])
            shown = [{key: line[key] for key in keys} for line in found]
            assert shown == [{key: line[key] for key in keys} for line in person.lines]

    def check_tags(self, lines: dict[str, list[dict[str, Any]]]) -> None:
        """No line adds a tag that its customer, or the one it took over, held; none removes what nobody held."""
        gave: dict[tuple[str, str], set[str]] = {}
        held: dict[str, set[str]] = defaultdict(set)
        waiting = {name: list(found) for name, found in lines.items()}
        while any(waiting.values()):
            ready = [n for n, left in waiting.items() if left and ready_to_read(left[0], gave)]
            assert ready, "a hand-over that nobody gave"
            for name in ready:
                line = waiting[name].pop(0)
                before = held[name] | gave.pop((line["handoff_id"], name), set())
                assert not before & set(line["tags_added"])
                assert set(line["tags_removed"]) <= before
                for piece in line["pieces"]:
                    gave[piece["handoff_id"], piece["to_id"]] = before
                held[name] = (before | set(line["tags_added"])) - set(line["tags_removed"])
        assert gave == {}, "a hand-over that nobody took"

    def check_snapshots(self) -> None:
        """The last one of everybody says what is held true, or that the customer is gone."""
        last: dict[str, dict[str, Any]] = {}
        for snapshot in self.accepted("profiles", "profile"):
            assert snapshot["rev"] > last.get(snapshot["customer_id"], {"rev": 0})["rev"]
            last[snapshot["customer_id"]] = snapshot
        states = self.states()
        for name, state in states.items():
            if state.conclusion is not None:
                assert not last[name]["deleted"]
                assert last[name]["nodes"] == sorted(state.parts)
                assert last[name]["stage"] == state.conclusion.stage
                assert {tag["name"] for tag in json.loads(last[name]["tags"])} == state.conclusion.tags.keys()
        assert all(snapshot["deleted"] for name, snapshot in last.items() if name not in states)
        assert self.naive.ended.keys() <= last.keys()

    def check_dead_letters(self) -> None:
        dead = self.accepted("profile.dead", "dead_letter")
        assert Counter(json.loads(one["headers"])["src"] for one in dead) == Counter(self.naive.dead)


def ready_to_read(line: dict[str, Any], gave: dict[tuple[str, str], set[str]]) -> bool:
    return line["kind"] != "took" or (line["handoff_id"], line["customer_id"]) in gave


class AgeingMachine(CustomerMachine):
    """The same with days passing, so that time begins and ends tags."""

    has_time = True
