"""Two ledger services in a row, and everything that can go wrong, as a machine for Hypothesis.

After quiet: what was accepted at every destination is what one machine would have sent there, in its order, numbered
without holes, nothing twice, nothing missing; every timer and every parcel counted once; nothing is left behind.
"""

import json
from collections import Counter, defaultdict
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from services.chassis.records import Record
from services.chassis.redis.claim import Verdict, accept
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_kafka import SendFailure
from services.chassis.testing.fake_ledger import FakeLedger, FakeServer
from services.chassis.testing.simulation import Service, Simulation
from tests.property.ledger.tally import PARTITIONS, counts, service, value

FIRST, SECOND = service("tally_first", "tally.in", "tally.mid"), service("tally_second", "tally.mid", "tally.out")
EACH = 2
process = st.integers(0, 2 * EACH - 1)
partition = st.integers(0, PARTITIONS - 1)
place = st.tuples(st.sampled_from([FIRST, SECOND]), partition)
choice = st.fixed_dictionaries(dict.fromkeys(range(PARTITIONS), process))
# Anywhere, or right at one of the steps that count.
point = st.one_of(
    st.tuples(st.sampled_from(["script before", "script after", "deliver"]), st.integers(1, 3)),
    st.tuples(st.just(""), st.integers(1, 30)),
)
# Long enough for a timer, for the owner's idle check, for a fenced process to come back.
seconds = st.sampled_from([0, 0.3, 0.6, 1.1])


class LedgerMachine(RuleBasedStateMachine):
    """Mutated twins replace the two classes by ones with a safeguard missing."""

    ledger_class: ClassVar[type[FakeLedger]] = FakeLedger
    server_class: ClassVar[type[FakeServer]] = FakeServer

    @initialize()
    def begin(self) -> None:
        self.simulation = Simulation([FIRST, SECOND], EACH, self.server_class(), self.ledger_class)
        self.number = 0
        self.puts: dict[int, list[tuple[str, str]]] = {p: [] for p in range(PARTITIONS)}
        self.expected_once: Counter[str] = Counter()

    # -- what comes in
    def send(self, to: int, member: str, *operation: object) -> None:
        self.simulation.broker.append(Record("tally.in", to, -1, member.encode(), value(*operation), {}, 0))

    @rule(to=partition, members=st.lists(st.sampled_from("abc"), min_size=1, max_size=4))
    def put(self, to: int, members: list[str]) -> None:
        for member in members:
            self.number += 1
            name, text = f"{member}{to}", str(self.number)
            self.puts[to].append((name, text))
            self.send(to, name, "put", text)

    @rule(to=partition, delay_ms=st.sampled_from([200, 200, 500, 2_000]), is_set=st.booleans())
    def timer(self, to: int, delay_ms: int, is_set: bool) -> None:
        """is_set: the owner knows of it before the next thing happens."""
        self.number += 1
        self.expected_once[f"tick t{self.number}"] += 1
        self.send(to, f"t{self.number}", "timer", delay_ms)
        if is_set:
            self.simulation.round(self.simulation.owner(FIRST, to))

    @rule(giver=partition, taker=partition, take_first=st.booleans())
    def parcel(self, giver: int, taker: int, take_first: bool) -> None:
        self.number += 1
        token, member = f"p{self.number}", f"m{self.number}"
        self.expected_once[f"took parcel {token}"] += 1
        give, take = (giver, "giver", "give", token), (taker, member, "take", token, giver)
        for operation in [take, give] if take_first else [give, take]:
            self.send(*operation)

    # -- work
    @rule(numbers=st.lists(process, min_size=1, max_size=6), seconds=seconds)
    def work(self, numbers: list[int], seconds: float) -> None:
        self.simulation.pass_time(seconds)
        for number in numbers:
            self.simulation.round(number)

    # -- what goes wrong: planned for the owner of a partition, which then works at once
    def prepare(self, place: tuple[Service, int], has_timer: bool) -> int:
        """The owner; a timer that it knows of will be due soon, so that time alone gives it something to do."""
        if has_timer and place[0] is FIRST:
            self.timer(place[1], 200, True)
        return self.simulation.owner(*place)

    def hit(self, number: int, seconds: float) -> None:
        self.simulation.pass_time(seconds)
        self.simulation.round(number)

    @rule(place=place, at=point, seconds=seconds)
    def crash(self, place: tuple[Service, int], at: tuple[str, int], seconds: float) -> None:
        number = self.simulation.owner(*place)
        self.simulation.crash(number, *at)
        self.hit(number, seconds)

    @rule(
        place=place, at=point, choice=choice, rounds=st.lists(process, max_size=8), seconds=seconds, later=seconds,
        has_timer=st.booleans(), dies=st.booleans(),
    )  # fmt: skip
    def freeze(
        self, place: tuple[Service, int], at: tuple[str, int], choice: list[int], rounds: list[int], seconds: float,
        later: float, has_timer: bool, dies: bool,
    ) -> None:  # fmt: skip
        """Its owner stands still while the partition goes to another process, and wakes, or dies, as a zombie."""
        service, partition = place
        number = self.prepare(place, has_timer)

        def meanwhile() -> None:
            self.simulation.rebalance(service, choice)
            self.simulation.rebalance(service, {partition: number + 1})
            self.simulation.pass_time(later)
            self.simulation.round(self.simulation.owner(service, partition))
            for other in rounds:
                self.simulation.round(other)

        self.simulation.freeze(number, *at, meanwhile, dies)
        self.hit(number, seconds)

    @rule(which=st.sampled_from([FIRST, SECOND]), choice=choice)
    def rebalance(self, which: Service, choice: dict[int, int]) -> None:
        self.simulation.rebalance(which, choice)

    @rule(
        place=place,
        at=st.integers(1, 2),
        is_answer=st.booleans(),
        twice=st.booleans(),
        has_timer=st.booleans(),
        each=seconds,
    )
    def lose_on_the_way(
        self, place: tuple[Service, int], at: int, is_answer: bool, twice: bool, has_timer: bool, each: float
    ) -> None:
        """A request or an answer, perhaps also the second time; the request may arrive after what came behind it."""
        number = self.prepare(place, has_timer)
        for i in range(1 + twice):
            (self.simulation.lose_answer if is_answer else self.simulation.lose_request)(number, at + i)
        self.hit(number, each)
        self.hit(number, each)
        if each:
            self.simulation.arrive()

    @rule(place=place, at=st.integers(1, 6), arrives=st.booleans(), late=st.booleans(), seconds=seconds)
    def lose_a_send(self, place: tuple[Service, int], at: int, arrives: bool, late: bool, seconds: float) -> None:
        number = self.simulation.owner(*place)
        self.simulation.lose_send(number, at, SendFailure(arrives, late))
        self.hit(number, seconds)

    @rule(place=place, seconds=seconds)
    def arrive_late(self, place: tuple[Service, int], seconds: float) -> None:
        self.simulation.arrive()
        self.hit(self.simulation.owner(*place), seconds)

    # -- what must hold in the end
    def teardown(self) -> None:
        if not hasattr(self, "simulation"):
            return
        try:
            self.simulation.settle()
            self.simulation.pass_time(3)  # the last timers
            self.simulation.settle()
            mid, out = self.accepted("tally.mid"), self.accepted("tally.out")
            self.check_first(mid)
            self.check_second(mid, out)
            self.check_nothing_is_left()
        finally:
            self.simulation.close()

    def accepted(self, topic: str) -> list[list[tuple[str, str, str]]]:
        """Per partition, in order: (source, member, text) of the records that accept takes."""
        found = []
        for to in range(PARTITIONS):
            seen: dict[str, int] = {}
            contents: dict[bytes, tuple[bytes, bytes | None]] = {}
            taken = []
            for record in self.simulation.broker.logs[topic, to]:
                number = record.headers["seq"]
                assert contents.setdefault(number, (record.key, record.value)) == (record.key, record.value), number
                verdict = accept(seen, record)
                assert verdict is not Verdict.GAP, f"{topic}/{to}: {number!r} after {seen}"
                if verdict is Verdict.TAKE:
                    source = number.decode().partition(":")[0]
                    taken.append((source, record.key.decode(), json.loads(record.value or b"")[1]))
            found.append(taken)
        return found

    def check_first(self, mid: list[list[tuple[str, str, str]]]) -> None:
        once: Counter[str] = Counter()
        sent = defaultdict(list)
        for to, taken in enumerate(mid):
            for source, member, text in taken:
                if text.startswith(("tick", "took")):
                    once[text.split(" at ")[0]] += 1
                else:
                    sent[source, to].append((to, member, text))
        assert once == self.expected_once
        for source, puts in self.puts.items():
            states, expected = counts(puts)
            for to in range(PARTITIONS):
                assert sent[str(source), to] == [item for item in expected if item[0] == to]
            self.check_states(Slot("tally_first", source), states)

    def check_second(self, mid: list[list[tuple[str, str, str]]], out: list[list[tuple[str, str, str]]]) -> None:
        for source in range(PARTITIONS):
            states, expected = counts([(member, text) for _, member, text in mid[source]])
            for to in range(PARTITIONS):
                sent = [(to, member, text) for origin, member, text in out[to] if origin == str(source)]
                assert sent == [item for item in expected if item[0] == to]
            self.check_states(Slot("tally_second", source), states)

    def check_states(self, slot: Slot, expected: dict[str, int]) -> None:
        prefix = slot.key("c", "")
        found = {k[len(prefix) :]: int(v) for k, v in self.simulation.server.strings.items() if k.startswith(prefix)}
        assert found == expected

    def check_nothing_is_left(self) -> None:
        server = self.simulation.server
        assert not [key for key in server.strings if ":give:" in key]
        assert not any(server.zsets.values())
        for name, fields in server.hashes.items():
            assert ":ledger:" in name or not fields, name
