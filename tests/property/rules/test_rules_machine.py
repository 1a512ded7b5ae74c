"""The service against one machine that works off everything in the order it was decided.

Customers live in three partitions, each with its own log, worked off at its own pace, in batches of any size, with
crashes before and after the apply and new owners. Merges, splits and erasures send rule state between partitions.
Whatever the interleaving: the same triggers, the same state, nothing left behind.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from services.chassis.avro import Codec
from services.chassis.ids import partition_of, stable_id
from services.chassis.records import Decision, Record
from services.chassis.redis.slots import Slot
from services.rules.adapters import Wire
from services.rules.core.evaluate import RuleIndex
from services.rules.core.state import unpack
from services.rules.core.syntax import parse_rules
from services.rules.handler import RulesHandler

PARTITIONS = 3
HOUR_MS = 3_600_000
SHANGHAI = ZoneInfo("Asia/Shanghai")
THEN = "then: [{email: {template: t}}]"
RULES = {
    name: f"rule: {name}\nversion: 1\n{body}\n{THEN}".encode()
    for name, body in {
        "always": "when: {event: A}",
        "asked": "when: {event: A}\nif: profile.rfm.m >= 3",
        "cool": "when: {event: B}\nlimits: {cooldown: 5h}",
        "daily": "when: [{event: A}, {event: B}]\nlimits: {per_customer_per_day: 2}",
        "once": "when: {first_event: A}\nlimits: {once_per_customer: true}",
        "tag": "when: {tag_added: t}",
    }.items()
}
INDEX, WIRE = RuleIndex(parse_rules(RULES), SHANGHAI), Wire("", PARTITIONS)
CHANGE, TRIGGER = Codec("profile_change"), Codec("trigger")
Fired = set[tuple[str, str, int]]


@dataclass
class Naive:
    """One customer of the reference: what fired, as (rule, anchor, moment). Written apart from the code under test."""

    fired: Fired = field(default_factory=set)

    def judge(self, place: str, moment_ms: int, name: str, first: bool, m: int, tag_anchor: str) -> list[str]:
        out = []
        for rule_name, anchor in (
            ("always", place if name == "A" else ""),
            ("asked", place if name == "A" and m >= 3 else ""),
            ("cool", place if name == "B" else ""),
            ("daily", place if name in "AB" and name else ""),
            ("once", place if name == "A" and first else ""),
            ("tag", f"{tag_anchor}+t" if tag_anchor else ""),
        ):
            if anchor and self.may(rule_name, anchor, moment_ms):
                out.append(stable_id(rule_name, "1", anchor))
                if rule_name not in ("always", "asked"):
                    self.fired.add((rule_name, anchor, moment_ms))
        return out

    def may(self, rule_name: str, anchor: str, moment_ms: int) -> bool:
        mine = [(a, ms) for r, a, ms in self.fired if r == rule_name]
        if rule_name == "cool":
            return all(moment_ms - ms >= 5 * HOUR_MS for _, ms in mine)
        if rule_name == "daily":
            return (
                sum(
                    (ms + 8 * HOUR_MS) // (24 * HOUR_MS) == (moment_ms + 8 * HOUR_MS) // (24 * HOUR_MS)
                    for _, ms in mine
                )
                < 2
            )
        if rule_name == "once":
            return not mine
        return all(a != anchor for a, _ in mine)


@dataclass
class Owner:
    """One partition: its log, its position, what its ledger knows, what it has produced."""

    log: list[Record] = field(default_factory=list)
    position: int = 0
    waits: dict[str, str] = field(default_factory=dict)
    handler: RulesHandler | None = None


class RulesMachine(RuleBasedStateMachine):
    customers = Bundle("customers")

    def __init__(self) -> None:
        super().__init__()
        self.data: dict[str, bytes] = {}
        self.owners = [Owner() for _ in range(PARTITIONS)]
        self.naive: dict[str, Naive] = {}
        self.expected: Counter[str] = Counter()
        self.produced: Counter[str] = Counter()
        self.place = self.born = 0

    # what happens, in the order of the graph
    @rule(target=customers)
    def born_one(self) -> str:
        return self.new_customer()

    @rule(
        customer=customers, name=st.sampled_from("ABC"), hours=st.integers(0, 60), first=st.booleans(),
        m=st.integers(1, 5), has_header=st.booleans(), tag=st.sampled_from(["", "", "own", "t1", "t2"]),
    )  # fmt: skip
    def happens(self, customer: str, name: str, hours: int, first: bool, m: int, has_header: bool, tag: str) -> None:
        place, moment_ms = self.next_place(), hours * HOUR_MS + 1
        anchor = place if tag == "own" else tag
        fields: dict[str, Any] = {"name": name, "first": first, "accepted_at": moment_ms}
        fields |= {"profile": b'{"rfm":{"m":%d}}' % m, "tags_added": ["t"] if tag else []}
        flags = ("t" if tag else "") + ("f" if first else "")
        self.append(
            "event",
            customer,
            place,
            f"{name}\x1f{flags}" if has_header else None,
            tag_anchors=[anchor][: bool(tag)],
            **fields,
        )
        self.expected.update(self.naive[customer].judge(place, moment_ms, name, first, m, anchor))

    @rule(customer=customers, tag=st.sampled_from(["t1", "t2"]))
    def time_passes(self, customer: str, tag: str) -> None:
        fields = {"tags_added": ["t"], "tag_anchors": [tag], "changed_at": 7 * HOUR_MS, "occurred_at": 7 * HOUR_MS}
        self.append("tick", customer, self.next_place(), "\x1ft", **fields)
        self.expected.update(self.naive[customer].judge("", 7 * HOUR_MS, "", False, 0, tag))

    @rule(giver=consumes(customers), taker=customers)
    def merge(self, giver: str, taker: str) -> None:
        if giver == taker:
            return
        handoff = f"{self.next_place()}.0"
        self.append("gave", giver, handoff, "\x1fh", pieces=[{"handoff_id": handoff, "to_id": taker, "nodes": []}])
        self.append("took", taker, handoff, "\x1fh", handoff_id=handoff, from_id=giver)
        self.naive[taker].fired |= self.naive.pop(giver).fired

    @rule(target=customers, customer=customers, count=st.integers(1, 2), begins=st.booleans(), at=st.integers(0, 60))
    def split(self, customer: str, count: int, begins: bool, at: int) -> Any:
        place, new = self.next_place(), [self.new_customer() for _ in range(count)]
        handoffs, moment_ms = [f"{place}.{k}" for k in range(count)], at * HOUR_MS + 1
        pieces = [{"handoff_id": h, "to_id": to, "nodes": ["n"]} for h, to in zip(handoffs, new, strict=True)]
        tags = {"tags_added": ["t"]} if begins else {}
        anchors = [handoffs[0], *handoffs] if begins else []
        self.append(
            "gave",
            customer,
            handoffs[0],
            "\x1fth",
            pieces=pieces,
            accepted_at=moment_ms,
            tag_anchors=anchors[:1],
            **tags,
        )
        for k, to in enumerate(new):
            self.append(
                "took", to, handoffs[k], "\x1fth", handoff_id=handoffs[k], from_id=customer, accepted_at=moment_ms,
                tag_anchors=anchors[k + 1 : k + 2], **tags,
            )  # fmt: skip
            self.naive[to].fired = set(self.naive[customer].fired)
        if begins:
            for one, anchor in ((customer, f"{handoffs[0]}/gave"), *zip(new, handoffs, strict=True)):
                self.expected.update(self.naive[one].judge("", moment_ms, "", False, 0, anchor))
        return multiple(*new)

    @rule(customer=consumes(customers))
    def erase(self, customer: str) -> None:
        self.append("erased", customer, self.next_place(), "\x1fh", profile=b"", properties=b"")
        del self.naive[customer]

    # the workers
    @rule(
        partition=st.integers(0, PARTITIONS - 1),
        count=st.integers(0, 5),
        fate=st.sampled_from(["", "", "before", "after"]),
    )
    def work(self, partition: int, count: int, fate: str) -> None:
        """One batch; a crash before the apply loses the decision, one after it loses the owner's memory."""
        owner = self.owners[partition]
        batch = owner.log[owner.position : owner.position + count]
        decision = self.decide(owner, partition, batch)
        if fate == "before":
            owner.handler = None
            again = self.decide(owner, partition, batch)
            assert again == decision, "the same batch must give the same decision"
        self.apply(owner, partition, decision)
        owner.position += len(batch)
        if fate == "after":
            owner.handler = None

    @invariant()
    def nothing_fires_twice(self) -> None:
        assert not self.produced - self.expected

    def teardown(self) -> None:
        for _ in range(200):
            if all(owner.position == len(owner.log) and not owner.waits for owner in self.owners):
                break
            for partition in range(PARTITIONS):
                self.work(partition, 1_000, "")
        else:
            raise AssertionError([owner.waits for owner in self.owners])
        assert self.produced == self.expected
        stored = {
            f"{{rules:{self.partition(c)}}}:c:{c}": fires
            for c, naive in self.naive.items()
            if (fires := _by_rule(naive.fired))
        }
        assert {key: unpack(blob).fires for key, blob in self.data.items()} == stored

    # plumbing
    def get_many(self, keys: list[str]) -> list[bytes | None]:
        return [self.data.get(key) for key in keys]

    def decide(self, owner: Owner, partition: int, batch: list[Record]) -> Decision | None:
        if owner.handler is None:
            waits = owner.waits
            owner.handler = RulesHandler(Slot("rules", partition), self, waits, lambda: INDEX, WIRE)
        return owner.handler.decide(batch, [], 1)

    def apply(self, owner: Owner, partition: int, decision: Decision | None) -> None:
        if decision is None:
            return
        for key, value in decision.sets.items():
            assert key.startswith(f"{{rules:{partition}}}:")
            assert not (":give:" in key and key in self.data), "a hand-over is immutable"
            self.data[key] = value
        for key in decision.deletes + decision.late_deletes:
            del self.data[key]
        for member, wait in decision.waits.items():
            if wait is None:
                del owner.waits[member]
            else:
                owner.waits[member] = wait
        self.produced.update(TRIGGER.decode(output.value)["trigger_id"] for output in decision.outputs)

    def append(self, kind: str, customer: str, cause: str, when: str | None, **fields: Any) -> None:
        stated = {"customer_id": customer, "kind": kind, "cause": cause, "occurred_at": 1, "changed_at": 1, **fields}
        owner = self.owners[self.partition(customer)]
        headers = {} if when is None else {"when": when.encode()}
        value = CHANGE.encode(stated)
        owner.log.append(Record("profile.changes", 0, len(owner.log), customer.encode(), value, headers, 1))

    def partition(self, customer: str) -> int:
        return partition_of(customer.encode(), PARTITIONS)

    def next_place(self) -> str:
        self.place += 1
        return f"0.0.{self.place}"

    def new_customer(self) -> str:
        self.born += 1
        customer = f"customer-{self.born}"
        self.naive[customer] = Naive()
        return customer


def _by_rule(fired: Fired) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for rule_name, anchor, moment_ms in fired:
        known = out.setdefault(rule_name, {})
        known[anchor] = max(moment_ms, known.get(anchor, moment_ms))  # two customers may have fired at one tag's anchor
    return out


TestRulesMachine = RulesMachine.TestCase
TestRulesMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
