"""Customers who buy, give back and cancel, are merged and split, written to Redis and back.

At every moment what their parts say is what brute force says of the events they hold.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.profile.core.fold import fold
from services.profile.core.state import Event, encode
from services.profile.core.view import view
from tests.property.profile.profile_naive import CALM, CONFIG, DAY_MS, NOW_MS, naive_view
from tests.unit.profile.profile_builders import decode_part

NAMES = ["Order Completed"] * 4 + ["Order Refunded"] * 3 + ["Order Cancelled", "Order Updated", "Order Line Completed"]
ORDERS = ["", "A", "B", "C", "D", "a long order id that is kept as a digest"]
MONEY = [(0, ""), (0, "CNY"), (300, "CNY"), (700, "CNY"), (900, "CNY"), (500, "USD")]


class Shoppers(RuleBasedStateMachine):
    """Six nodes, of which each belongs to one customer."""

    def __init__(self):
        super().__init__()
        self.events = {node: [] for node in range(6)}
        self.parts = {}
        self.customers = []
        self.number = 0

    @initialize()
    def begin(self):
        self.customers = [{node} for node in range(6)]

    @rule(
        node=st.integers(0, 5),
        name=st.sampled_from(NAMES),
        order_id=st.sampled_from(ORDERS),
        money=st.sampled_from(MONEY),
        age_days=st.sampled_from([0, 0, 1, 30, 364, 365, 400, 900]),
        hour=st.sampled_from([0, 0, 1]),
    )
    def happen(self, node, name, order_id, money, age_days, hour):
        self.number += 1
        at = NOW_MS - age_days * DAY_MS - hour * 3_600_000
        place = f"1.0.{self.number:05d}"
        self.arrive(node, Event(f"e{self.number}", "track", name, "shop", place, at, order_id, *money))

    def arrive(self, node, event):
        # What is sent again never gets here: identity and the ledger drop it, with machines of their own.
        self.events[node].append(event)
        self.parts[node] = fold(self.parts.get(node), event, CONFIG)

    @precondition(lambda self: len(self.customers) > 1)
    @rule(pick=st.randoms(use_true_random=False))
    def merge(self, pick):
        own, taken = pick.sample(self.customers, 2)
        self.customers.remove(taken)
        own |= taken
        for node in taken & self.parts.keys():
            self.parts[node] = decode_part(encode(self.parts[node]))

    @precondition(lambda self: any(len(customer) > 1 for customer in self.customers))
    @rule(pick=st.randoms(use_true_random=False))
    def split(self, pick):
        old = pick.choice([customer for customer in self.customers if len(customer) > 1])
        node = pick.choice(sorted(old))
        old.remove(node)
        self.customers.append({node})

    @rule(node=st.integers(0, 5))
    def fold_anew(self, node):
        """As a rebuild does, in another order: the bytes are the same."""
        part = None
        for event in sorted(self.events[node], key=lambda event: (event.occurred_at, event.event_id), reverse=True):
            part = fold(part, event, CONFIG)
        if part is not None:
            assert encode(part) == encode(self.parts[node])
            self.parts[node] = part

    @invariant()
    def what_the_parts_say_is_what_the_events_say(self):
        for customer in self.customers:
            events = [event for node in sorted(customer) for event in self.events[node]]
            if not events:
                continue
            parts = [self.parts[node] for node in sorted(customer) if node in self.parts]
            for now_ms in (NOW_MS, NOW_MS + 2 * DAY_MS):
                expected, one = naive_view(events, now_ms), view(parts, now_ms, CONFIG)
                assert {name: getattr(one, name) for name in expected} == expected


Shoppers.TestCase.settings = settings(CALM, max_examples=100, stateful_step_count=40)
TestShoppers = Shoppers.TestCase
