"""Merges and splits: no tag begins twice, beginnings are the earliest, and what holds follows from the events alone."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.profile.core.fold import fold
from services.profile.core.judgement import judgement
from services.profile.core.state import Conclusion, Event, encode
from services.profile.core.tags import conclude
from services.profile.core.timers import next_due_ms
from tests.property.profile.profile_naive import CALM, CONFIG, DAY_MS, NAMES, NOW_MS
from tests.unit.profile.profile_builders import CUTS, STICKY, decode_conclusion, decode_part

TIMED = {definition.name for definition in CONFIG.catalogue.tags if definition.clock is not None}
# Their clock only ever moves forward, so one anchor qualifies once; the others depend on more than the clock.
ONCE = {"at_risk", "login_lapsed_30d"}


class Customer:
    def __init__(self, parts, conclusion):
        self.parts, self.conclusion, self.due = parts, conclusion, None


class Customers(RuleBasedStateMachine):
    """Customers that get events, merge, split and grow older, judged as the handler judges them."""

    def __init__(self):
        super().__init__()
        self.now_ms = NOW_MS
        self.number = 0
        self.customers = []
        self.begun = set()
        self.has_split = False

    def place(self):
        self.number += 1
        return f"1.0.{self.number:06d}"

    def facts(self, customer):
        return judgement(tuple(customer.parts.values()), self.now_ms, CUTS, CONFIG).facts

    def judge(self, customer, before, cause):
        facts = self.facts(customer)
        result, changes = conclude(facts, before, cause, self.now_ms, CONFIG)
        held = {name for conclusion in before for name in conclusion.tags}
        added = {name for name, _, _ in changes.tags_added}
        assert len(added) == len(changes.tags_added)
        assert not added & held
        assert added == result.tags.keys() - held
        assert set(changes.tags_removed) == held - result.tags.keys()
        assert changes.stage_to == result.stage
        assert changes.stage_from == (before[0].stage if before else "")
        fresh, _ = conclude(self.facts(customer), [], cause, self.now_ms, CONFIG)
        assert fresh.tags.keys() <= result.tags.keys() <= fresh.tags.keys() | STICKY
        assert result.stage == fresh.stage
        for name, state in result.tags.items():
            sides = [(c.tags[name].since_ms, c.tags[name].anchor) for c in before if name in c.tags]
            if name in TIMED - {"potential"}:
                assert state == fresh.tags[name]
            elif sides and name not in TIMED:
                assert (state.since_ms, state.anchor) == min(sides)
        for name, anchor, _ in changes.tags_added:
            if name in ONCE and not self.has_split:
                assert (name, anchor) not in self.begun
                self.begun.add((name, anchor))
        customer.conclusion = decode_conclusion(encode(result))
        customer.due = next_due_ms(facts, CONFIG)
        return result

    @rule(node=st.integers(0, 9), name=st.sampled_from(NAMES), age=st.sampled_from([0, 0, 1, 40, 100, 200, 380]))
    def touch(self, node, name, age):
        place = self.place()
        owner = next((c for c in self.customers if node in c.parts), None)
        before = [] if owner is None else [owner.conclusion]
        if owner is None:
            owner = Customer({}, Conclusion())
            self.customers.append(owner)
        money = 4_000 if name == "Order Completed" else 500 if name == "Order Refunded" else 0
        event = Event(
            place, "track", name, "shop", place, self.now_ms - age * DAY_MS, "", money, "CNY" if money else ""
        )
        owner.parts[node] = fold(owner.parts.get(node), event, CONFIG)
        self.judge(owner, before, place)

    @precondition(lambda self: len(self.customers) > 1)
    @rule(pick=st.randoms(use_true_random=False))
    def merge(self, pick):
        own, taken = pick.sample(self.customers, 2)
        before = [own.conclusion, taken.conclusion]
        self.customers.remove(taken)
        own.parts |= {node: decode_part(encode(part)) for node, part in taken.parts.items()}
        place = self.place()
        mirrored, _ = conclude(self.facts(own), before[::-1], place, self.now_ms, CONFIG)
        assert self.judge(own, before, place) == mirrored

    @precondition(lambda self: any(len(c.parts) > 1 for c in self.customers))
    @rule(pick=st.randoms(use_true_random=False))
    def split(self, pick):
        self.has_split = True
        old = pick.choice([c for c in self.customers if len(c.parts) > 1])
        before = old.conclusion
        node = pick.choice(sorted(old.parts))
        new = Customer({node: old.parts.pop(node)}, Conclusion())
        place = self.place()
        self.customers.append(new)
        self.judge(old, [before], place)
        self.judge(new, [before], place)

    @rule(days=st.sampled_from([1, 29, 31, 60, 91, 181]))
    def grow_older(self, days):
        end_ms = self.now_ms + days * DAY_MS
        while True:
            due = [c for c in self.customers if c.due is not None and c.due <= end_ms]
            if not due:
                break
            customer = min(due, key=lambda c: c.due)
            self.now_ms = customer.due
            self.judge(customer, [customer.conclusion], "")
        self.now_ms = end_ms

    @invariant()
    def nothing_is_overdue(self):
        assert all(c.due is None or c.due > self.now_ms for c in self.customers)


Customers.TestCase.settings = settings(CALM, max_examples=40, stateful_step_count=40)
TestCustomersThatMergeAndSplit = Customers.TestCase
