"""Which orders are purchases, when, and what is left of their money: a test per rule of the README's table."""

from unittest.mock import patch

import msgspec
import pytest

from services.chassis.errors import Fatal
from services.profile.core import orders
from services.profile.core.calendar import DAY_MS
from services.profile.core.configuration import parse_config
from services.profile.core.orders import order_key
from services.profile.core.state import encode
from services.profile.core.view import view
from services.profile.states import Packer
from tests.unit.profile.profile_builders import (
    CONFIG,
    NOW_MS,
    SHIPPED,
    TODAY,
    at,
    cancelled,
    decode_part,
    event,
    part_of,
    purchase,
    refund,
    seen,
)


def updated(order_id, amount_minor, days_ago=0, **fields):
    values = {"order_id": order_id, "amount_minor": amount_minor, "currency": "CNY"} | fields
    return event("Order Updated", days_ago, **values)


def line(order_id, amount_minor, days_ago=0, **fields):
    return event(
        "Order Line Completed", days_ago, order_id=order_id, amount_minor=amount_minor, currency="CNY", **fields
    )


def values(*events):
    one = seen(*events)
    return one.frequency, one.net_minor


def test_a_refund_that_names_an_order_counts_on_the_day_of_the_order():
    bought = purchase(364, 900, order_id="A")
    assert values(bought, refund(2, 300, order_id="A")) == (1, 600)
    later = view([part_of(bought, refund(2, 300, order_id="A"))], NOW_MS + DAY_MS, CONFIG)
    assert (later.frequency, later.net_minor) == (0, 0)


def test_a_refund_may_come_before_its_order():
    assert values(refund(2, 300, order_id="A"), purchase(9, 900, order_id="A")) == (1, 600)


def test_an_order_is_never_worth_less_than_nothing():
    assert values(purchase(9, 900, order_id="A"), refund(2, 1_300, order_id="A"), purchase(1, 50)) == (2, 50)


def test_refunds_of_one_order_add_up():
    assert values(purchase(9, 900, order_id="A"), refund(2, 300, order_id="A"), refund(1, 200, order_id="A")) == (
        1,
        400,
    )


def test_a_refund_in_another_currency_takes_nothing_from_its_order():
    assert values(purchase(9, 900, order_id="A"), refund(2, 300, order_id="A", currency="USD")) == (1, 900)


def test_a_refund_without_an_order_counts_on_its_own_day():
    assert values(purchase(365, 900), refund(364, 300)) == (0, -300)


def test_a_refund_of_an_order_nobody_bought_counts_on_its_own_day():
    assert values(purchase(9, 900), refund(3, 300, order_id="before our time")) == (1, 600)


def test_a_cancelled_order_is_no_purchase():
    one = seen(purchase(9, 900, order_id="A"), cancelled("A", 8))
    assert (one.purchase_day, one.first_purchase_day, one.purchase_place) == (None, None, "")
    assert (one.frequency, one.net_minor, one.has_repeated) == (0, 0, False)


def test_after_a_cancellation_the_purchase_before_is_the_last_one_and_the_one_after_the_first():
    cancelling = cancelled("C", 1)
    three = [purchase(days, 100, order_id=name) for days, name in ((40, "A"), (20, "B"), (2, "C"))]
    one = seen(*three, cancelling)
    assert (TODAY - one.purchase_day, one.purchase_place) == (20, cancelling.place)
    assert (one.frequency, one.net_minor, one.has_repeated) == (2, 200, True)
    assert TODAY - seen(*three, cancelled("A")).first_purchase_day == 20


def test_a_cancellation_may_come_before_its_order_and_be_dated_before_it():
    assert values(cancelled("A", 9), purchase(8, 900, order_id="A")) == (0, 0)


def test_a_cancelled_order_stays_cancelled():
    assert values(purchase(9, 900, order_id="A"), cancelled("A", 8), purchase(7, 900, order_id="A")) == (0, 0)


def test_of_two_cancellations_the_last_is_kept_whichever_came_first():
    both = [cancelled("A", 8), cancelled("A", 5)]
    assert encode(part_of(*both)) == encode(part_of(*reversed(both)))
    assert part_of(*both).book.cancelled == {"A": at(5)}


def test_what_was_refunded_of_a_cancelled_order_is_taken_from_nobody():
    assert values(purchase(9, 900, order_id="A"), refund(8, 900, order_id="A"), cancelled("A", 8)) == (0, 0)


def test_a_cancellation_that_names_no_order_cancels_nothing():
    assert values(purchase(9, 900, order_id="A"), event("Order Cancelled")) == (1, 900)


def test_a_cancelled_order_was_a_sign_of_life():
    one = seen(purchase(9, 900, order_id="A"), cancelled("A", 8))
    assert (TODAY - one.activity_day, TODAY - one.lapse_day, TODAY - one.churn_day) == (9, 9, 9)


def test_an_order_told_twice_counts_once_as_last_told():
    assert values(purchase(5, 300, order_id="A"), purchase(4, 200, order_id="A"), purchase(4, 50, order_id="B")) == (
        2,
        250,
    )
    assert values(purchase(4, 200, order_id="A"), purchase(365, 300, order_id="A")) == (1, 200)


def test_of_two_amounts_of_the_same_moment_the_larger_counts():
    assert values(purchase(4, 300, order_id="A"), purchase(4, 200, order_id="A")) == (1, 300)


def test_an_amount_stays_when_the_order_is_told_again_without_one():
    again = purchase(4, 0, order_id="A", currency="")
    assert values(purchase(5, 300, order_id="A"), again) == (1, 300)
    assert TODAY - seen(purchase(5, 300, order_id="A"), again).purchase_day == 4


def test_an_update_changes_the_amount_and_not_the_day():
    one = seen(purchase(5, 300, order_id="A"), updated("A", 120, 1))
    assert (one.net_minor, TODAY - one.purchase_day, one.frequency) == (120, 5, 1)


def test_an_update_without_an_amount_and_one_of_an_older_moment_change_nothing():
    bought = purchase(5, 300, order_id="A")
    assert values(bought, updated("A", 0, 1, currency="")) == (1, 300)
    assert values(bought, updated("A", 120, 6)) == (1, 300)


def test_an_update_alone_is_no_purchase():
    one = seen(updated("A", 120, 1))
    assert (one.purchase_day, one.net_minor, one.is_active) == (None, 0, False)


def test_an_order_told_in_lines_costs_their_sum():
    assert values(line("A", 300, 3), line("A", 200, 2), line("A", 200, 2), line("B", 50, 1)) == (2, 750)
    assert values(line("A", 300, 3), line("A", 200, 2), refund(1, 100, order_id="A")) == (1, 400)


def test_a_total_beats_the_sum_of_the_lines():
    assert values(line("A", 300, 3), line("A", 200, 3), purchase(4, 450, order_id="A")) == (1, 450)


def test_purchases_without_an_order_id_are_each_their_own():
    assert values(purchase(1, 100), purchase(1, 100)) == (2, 200)


def test_an_order_keeps_the_amount_of_its_last_currency():
    one = seen(purchase(5, 300, order_id="A"), purchase(4, 200, order_id="A", currency="USD"))
    assert (one.currency, one.net_minor, one.frequency) == ("USD", 200, 1)


RATES = parse_config({"rates": {"as_of": "2026-11-01", "to_main": {"USD": 7.1, "JPY": "0.0468", "KWD": 23}}}, SHIPPED)


@pytest.mark.parametrize(
    ("currency", "minor", "fen"),
    [
        ("USD", 5, 36),
        ("USD", 4, 28),
        ("JPY", 1, 5),
        ("JPY", 1_000, 4_680),
        ("KWD", 1, 2),
        ("KWD", 10, 23),
        ("CNY", 7, 7),
    ],
)
def test_each_order_is_converted_exactly_and_rounded_half_up_to_fen(currency, minor, fen):
    one = seen(purchase(1, minor, currency=currency), config=RATES)
    assert (one.currency, one.net_minor) == ("CNY", fen)
    alone = seen(purchase(1, 0), refund(1, minor, currency=currency), config=RATES)
    assert (alone.currency, alone.net_minor) == ("CNY", -fen)


def test_converted_orders_add_up_and_refunds_in_another_currency_reduce_them():
    usd = {"currency": "USD", "order_id": "A"}
    assert seen(purchase(1, 100), purchase(2, 1_000, **usd), config=RATES).net_minor == 7_200
    assert seen(purchase(2, 1_000, **usd), refund(1, 3_000, order_id="A"), config=RATES).net_minor == 4_100
    assert seen(purchase(2, 1_000, **usd), refund(1, 9_000, order_id="A"), config=RATES).net_minor == 0
    early = seen(refund(1, 100, **usd), purchase(1, 50), config=RATES)
    assert early.net_minor == 50 - 710


def test_a_currency_without_a_rate_is_kept_apart():
    one = seen(purchase(1, 100, currency="EUR"), purchase(2, 10, currency="USD"), config=RATES)
    assert (one.currency, one.net_minor, one.frequency) == ("CNY", 71, 2)


def test_other_rates_count_at_once_for_all_history():
    part = part_of(purchase(1, 100, currency="USD"))
    dearer = parse_config({"rates": {"as_of": "2026-12-01", "to_main": {"USD": 8}}}, SHIPPED)
    assert [view([part], NOW_MS, config).net_minor for config in (CONFIG, RATES, dearer, RATES)] == [100, 710, 800, 710]


def test_an_order_and_its_refund_may_be_known_to_two_nodes():
    parts = [part_of(purchase(9, 900, order_id="A")), part_of(refund(2, 300, order_id="A"))]
    assert view(parts, NOW_MS, CONFIG).net_minor == 600
    parts = [part_of(purchase(9, 900, order_id="A"), purchase(20)), part_of(cancelled("A"))]
    assert view(parts, NOW_MS, CONFIG).frequency == 1


def test_over_all_time_orders_and_refunds_never_leave():
    config = parse_config({"windows_days": {"rfm": 0}}, SHIPPED)
    part = part_of(purchase(0, 100), purchase(3_000, 900), refund(2_999, 300), refund(1, 7), config=config)
    one = view([part], NOW_MS, config)
    assert (one.frequency, one.net_minor, one.oldest_order_day, one.oldest_money_day) == (2, 693, None, None)


def test_after_years_a_cancellation_still_finds_its_order():
    one = seen(purchase(3_000, 900, order_id="A"), purchase(1), cancelled("A"))
    assert TODAY - one.first_purchase_day == 1
    assert not one.has_repeated


def test_a_shared_till_keeps_its_newest_orders():
    with patch.object(orders, "MAX_ENTRIES", 3):
        part = part_of(*[purchase(days, 100, order_id=f"o{days}") for days in (1, 9, 2, 5, 3)])
    assert part.book.bought == {"CNY": {"o1": (at(1), 100), "o2": (at(2), 100), "o3": (at(3), 100)}}
    assert part.book.horizon == (at(5), "o5")
    assert TODAY - view([part], NOW_MS, CONFIG).first_purchase_day == 9


def test_what_is_said_of_a_forgotten_order_changes_nothing():
    with patch.object(orders, "MAX_ENTRIES", 3):
        kept = [purchase(days, 100, order_id=f"o{days}") for days in (1, 9, 2, 5, 3)]
        part = part_of(*kept, cancelled("o5", 5), refund(9, 50, order_id="o9"))
    assert encode(part.book) != encode(part_of(*kept).book)
    one = view([part], NOW_MS, CONFIG)
    assert (one.frequency, one.net_minor) == (3, 300)


def test_order_keys_are_short_and_tell_named_from_unnamed():
    assert order_key("536365", "e") == "536365"
    assert order_key("", "536365") != order_key("536365", "e")
    keys = {order_key("", "e" * 40), order_key("e" * 40, "x"), order_key("e" * 41, "x")}
    assert len(keys) == 3
    assert all(len(key) == 9 for key in keys)


def test_what_was_settled_before_is_not_what_counts_after_the_next_order():
    part = part_of(purchase(3, 100, order_id="A"))
    assert view([part], NOW_MS, CONFIG).net_minor == 100
    for one, net in ((purchase(2, 50), 150), (refund(1, 30, order_id="A"), 120), (cancelled("A"), 50)):
        part = part_of(one, part=part)
        assert view([part], NOW_MS, CONFIG).net_minor == net
        assert view([decode_part(encode(part))], NOW_MS, CONFIG).net_minor == net


def test_what_was_seen_of_one_day_is_not_what_counts_on_another():
    part = part_of(purchase(364, 100))
    assert [view([part], now_ms, CONFIG).frequency for now_ms in (NOW_MS, NOW_MS + DAY_MS, NOW_MS)] == [1, 0, 1]


@pytest.mark.parametrize("group", ["refund", "update", "cancellation", "purchase_line"])
def test_one_name_cannot_mean_two_things_to_an_order(group):
    with pytest.raises(ValueError, match="'Order Completed' under one of purchase"):
        parse_config({"events": {group: ["Order Completed"]}}, SHIPPED)


def test_a_cancellation_may_be_named_among_the_quiet_ones():
    config = parse_config({"events": {"quiet": ["Order Cancelled"]}}, SHIPPED)
    assert config.kinds["Order Cancelled"] == CONFIG.kinds["Order Cancelled"]


def test_state_of_before_books_is_refused_with_what_to_do():
    fields = msgspec.msgpack.decode(encode(part_of(purchase(1, order_id="A"))))
    # What stood where the book is: the smallest and largest order key, the orders and their days.
    older = [*fields[:10], "A", "A", {"A": TODAY - 1}, [1, [TODAY - 1], [1]], *fields[11:]]
    raw = msgspec.msgpack.encode([1, 1, {"n:1": older}])
    with pytest.raises(Fatal, match="touchstream rebuild"):
        Packer().read(raw, "c-1")
    assert Packer().read(msgspec.msgpack.encode([1, 1, {"n:1": fields}]), "c-1").n == 1
