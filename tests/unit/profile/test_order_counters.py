"""Counters over orders: each order once, with a coupon if a line has one, nothing of a cancelled one, in any order."""

import json
from itertools import permutations

import pytest

from services.profile.core import orders as books
from services.profile.core.customer_log import Context, CustomerState, refold
from services.profile.core.judgement import judgement
from services.profile.core.state import encode
from tests.unit.profile.profile_builders import (
    CONFIG,
    CUTS,
    NOW_MS,
    TODAY,
    cancelled,
    concluded,
    config_with,
    decode_part,
    event,
    part_of,
    purchase,
    refund,
)


def order(order_id, *products, days_ago=0, coupon=None, **fields):
    """An Order Completed with these products (quantity, discount)."""
    said = {"products": [{"quantity": quantity, "discount": discount} for quantity, discount in products]}
    return purchase(
        days_ago, order_id=order_id, properties=_json(said | ({"coupon": coupon} if coupon else {})), **fields
    )


def line(order_id, quantity=1, discount=0, coupon=None, days_ago=0, **fields):
    """An Order Line Completed as an ERP or a till writes it."""
    said = {"quantity": quantity, "discount": discount} | ({"coupon": coupon} if coupon else {})
    values = {"order_id": order_id, "amount_minor": 500, "currency": "CNY", "properties": _json(said)} | fields
    return event("Order Line Completed", days_ago, **values)


def _json(said):
    return json.dumps(said).encode()


def facts_of(*parts):
    return judgement(parts, NOW_MS, CUTS, CONFIG).facts


def counted(*events, days=365):
    """(orders with a coupon, items, discounted items) of the last days; the same in every order of arrival."""
    found = {told(part_of(*some), days=days) for some in list(permutations(events))[:24]}
    assert len(found) == 1, found
    return found.pop()


def told(*parts, days=365):
    facts = facts_of(*parts)
    return tuple(facts.sum(name, days, TODAY) for name in ("coupon_orders", "items", "discounted_items"))


def test_lines_of_one_order_are_one_order_with_a_coupon_if_one_has_it():
    assert counted(line("A"), line("A", coupon="MAY"), line("A", coupon="MAY")) == (1, 3, 0)
    assert counted(line("A", coupon="MAY"), line("B", coupon="MAY"), line("C")) == (2, 3, 0)


def test_items_and_discounted_items_add_up_by_line():
    assert counted(line("A", 3, discount=0.5), line("A", 2), line("B", 4, discount=1)) == (0, 9, 7)


def test_lines_without_an_order_id_are_orders_of_their_own():
    assert counted(line("", 2, coupon="MAY"), line("", 1, coupon="MAY")) == (2, 3, 0)


def test_a_line_that_lists_its_items_is_not_one_itself():
    two = line("A", properties=_json({"products": [{"quantity": 2, "discount": 1}, {}]}))
    assert counted(two) == (0, 3, 2)


def test_an_order_told_again_counts_once_as_told_last():
    first = order("A", (3, 1), days_ago=9, coupon="MAY")
    assert counted(first, order("A", (1, 0), days_ago=5)) == (0, 1, 0)
    assert counted(first, order("A", (3, 1), days_ago=5, coupon="MAY")) == (1, 3, 3)
    assert counted(first, order("A", days_ago=5)) == (0, 0, 0)


def test_of_two_tellings_of_one_ms_the_larger_amount_counts():
    assert counted(order("A", (3, 1)), order("A", (1, 0), coupon="MAY")) == (1, 3, 3)


def test_what_the_whole_order_says_beats_its_lines():
    assert counted(order("A", (2, 0)), line("A", 5, discount=1), line("A", coupon="MAY")) == (1, 2, 5)


@pytest.mark.parametrize("days_ago", [0, 5, 20])
def test_a_cancelled_order_takes_its_coupon_and_items_along(days_ago):
    told_whole = order("A", (3, 1), days_ago=9, coupon="MAY")
    lines = line("B", 2, discount=1, coupon="MAY", days_ago=9), line("B", days_ago=9)
    gone = cancelled("A", days_ago), cancelled("B", days_ago)
    assert counted(told_whole, *lines) == (2, 6, 5)
    assert counted(told_whole, *lines, gone[0]) == (1, 3, 2)
    assert counted(told_whole, *lines, *gone) == (0, 0, 0)


def test_an_order_cancelled_at_another_node_is_gone_as_well():
    bought = part_of(order("A", (3, 1), coupon="MAY"), order("B", (1, 0)))
    assert told(bought, part_of(cancelled("A"))) == told(part_of(cancelled("A")), bought) == (0, 1, 0)


def test_an_order_told_by_two_nodes_counts_once():
    early, late = order("A", (3, 1), days_ago=3, coupon="MAY"), order("A", (2, 0), days_ago=2)
    assert told(part_of(early), part_of(late)) == (0, 2, 0)
    assert told(part_of(line("A", 2)), part_of(line("A", 3, coupon="MAY"))) == (1, 5, 0)


def test_a_refund_leaves_the_items_where_they_are():
    assert counted(order("A", (3, 1), coupon="MAY"), refund(order_id="A", amount_minor=1_000)) == (1, 3, 3)


@pytest.mark.parametrize(("days_ago", "expected"), [(29, (1, 3, 3)), (30, (0, 0, 0))])
def test_an_order_counts_in_a_window_up_to_its_last_day(days_ago, expected):
    assert counted(order("A", (3, 1), days_ago=days_ago, coupon="MAY"), days=30) == expected


@pytest.mark.parametrize(("days_ago", "expected"), [(29, (1, 2, 0)), (30, (0, 0, 0))])
def test_an_order_counts_on_the_day_of_its_last_purchase_event(days_ago, expected):
    assert counted(line("A", coupon="MAY", days_ago=40), line("A", days_ago=days_ago), days=30) == expected


def test_price_sensitive_is_told_of_an_import_by_lines_and_ends_with_a_cancellation():
    lines = [line(name, discount=1, coupon="MAY") for name in ("A", "B")] + [line("C")]
    held, _ = concluded(*lines)
    assert held.tags["price_sensitive"].reason == (
        "2 of 3 purchases with a coupon, 2 of 3 items discounted in 365 days"
    )
    _, changes = concluded(*lines, cancelled("C"), before=(held,))
    assert "price_sensitive" in changes.tags_removed  # two purchases are too few
    later, _ = concluded(*lines, line("D"), cancelled("A"), before=(held,))
    assert "price_sensitive" not in later.tags  # one of three


def test_what_time_takes_away_of_orders_is_foreseen():
    config = config_with(tags={"couponed": {"if": "coupon_orders(30) >= 1"}})
    part = part_of(order("A", (1, 0), days_ago=12, coupon="MAY"), config=config)
    facts = judgement((part,), NOW_MS, CUTS, config).facts
    assert facts.leaves("coupon_orders", 30, 1, TODAY) == TODAY - 12 + 30


def test_the_bound_of_orders_is_the_bound_of_what_they_add(monkeypatch):
    monkeypatch.setattr(books, "MAX_ENTRIES", 4)
    events = [order(f"O{n}", (1, 0), days_ago=20 - n, coupon="MAY") for n in range(6)]
    events += [line(f"L{n}", days_ago=30 - n, coupon="MAY") for n in range(3)]
    part = part_of(*events)
    assert told(part) == (4, 4, 0)
    assert encode(part) == encode(part_of(*events[::-1]))
    assert len(part.tally.told) + len(part.tally.lines) == 4


def test_any_order_of_arrival_gives_the_same_bytes():
    events = [
        order("A", (3, 1), days_ago=3, coupon="MAY", place="1.0.1"),
        order("A", (2, 0), days_ago=2, place="1.0.2"),
        line("A", 2, days_ago=2, place="1.0.3"),
        line("B", 2, coupon="MAY", days_ago=2, place="1.0.4"),
        cancelled("B", 1, place="1.0.5"),
    ]
    parts = {encode(part_of(*some)) for some in permutations(events)}
    assert len(parts) == 1
    assert encode(decode_part(parts.copy().pop())) in parts


def test_a_backfill_brings_the_orders_of_a_part_as_well():
    former = config_with(counters={})
    events = order("A", (3, 1), coupon="MAY"), line("B", 2), order("", (1, 0))
    part = part_of(*events, config=former)
    state = CustomerState(parts={"node": part})
    context = Context(NOW_MS, CONFIG, CUTS, lambda *_: "", lambda *_: None, {})
    assert told(part) == (0, 0, 0)
    assert refold(state, {"node": part_of(*events)}, context)
    assert told(part) == (1, 6, 3)
