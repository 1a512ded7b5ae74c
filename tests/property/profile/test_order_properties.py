"""Orders alone, many of them few: refunds before purchases, cancelled then refunded, told twice, beyond the bound."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from services.profile.core import orders
from services.profile.core.fold import fold
from services.profile.core.state import View, encode
from services.profile.core.view import view
from tests.property.profile.profile_naive import (
    CALM,
    CONFIG,
    DAY_MS,
    NOW_MS,
    ORDER_NAMES,
    PURCHASES,
    event_lists,
    naive_view,
)
from tests.unit.profile.profile_builders import decode_part

FEW = [
    (order_id, amount_minor, currency)
    for order_id in ("", "A", "A", "B", "C")
    for amount_minor, currency in ((0, ""), (0, "CNY"), (700, "CNY"), (300, "CNY"), (900, "CNY"), (700, "USD"))
]
some_orders = event_lists(max_days=1_200, names=ORDER_NAMES, money=FEW)
later = st.integers(0, 900).map(lambda days: NOW_MS + days * DAY_MS)


def folded(events, part=None):
    for event in events:
        part = fold(part, event, CONFIG)
    return part


@given(some_orders, later)
@CALM
def test_orders_come_to_what_brute_force_says(events, now_ms):
    expected = naive_view(events, now_ms)
    one = view([folded(events)], now_ms, CONFIG)
    assert {name: getattr(one, name) for name in expected} == expected


@given(some_orders, st.lists(st.integers(0, 2), min_size=25, max_size=25), later, st.randoms(use_true_random=False))
@CALM
def test_nodes_that_share_orders_come_to_the_same(events, nodes, now_ms, rng):
    parts = {}
    for event, node in zip(events, nodes, strict=False):
        parts[node] = fold(parts.get(node), event, CONFIG)
    held = [decode_part(encode(part)) for part in parts.values()]
    rng.shuffle(held)
    whole, split = view([folded(events)], now_ms, CONFIG), view(held, now_ms, CONFIG)
    names = [name for name in View.__struct_fields__ if name not in ("parts", "clocks")]
    assert [getattr(split, name) for name in names] == [getattr(whole, name) for name in names]


@given(some_orders, st.randoms(use_true_random=False), st.integers(1, 6))
@CALM
def test_the_bound_of_a_book_does_not_make_order_matter(events, rng, bound):
    with patch.object(orders, "MAX_ENTRIES", bound):
        expected = encode(folded(events))
        rng.shuffle(events)
        half = len(events) // 2
        part = folded(events[:half])
        part = folded(events[half:], None if part is None else decode_part(encode(part)))
    assert encode(part) == expected
    assert part is None or part.book is None or orders._size(part.book) <= bound


@given(some_orders, st.integers(1, 6))
@CALM
def test_a_bounded_book_says_what_brute_force_says_of_the_events_above_its_horizon(events, bound):
    with patch.object(orders, "MAX_ENTRIES", bound):
        part = folded(events)
    horizon = part.book.horizon if part.book is not None else None
    if horizon is None:
        return
    kept = [e for e in events if (not e.order_id and e.name not in PURCHASES) or above(e, horizon)]
    expected = naive_view(kept, NOW_MS) if kept else {"frequency": 0, "net_minor": 0, "purchase_day": None}
    one = view([part], NOW_MS, CONFIG)
    names = ("frequency", "net_minor", "currency", "purchase_day", "oldest_order_day", "has_repeated")
    assert {name: getattr(one, name) for name in names if name in expected} == {
        name: expected[name] for name in names if name in expected
    }


def above(event, horizon):
    return (event.occurred_at, orders.order_key(event.order_id, event.event_id)) > horizon
