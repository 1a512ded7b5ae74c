"""Until when a tag holds if nothing happens: the exact day for each kind of condition, 0 where time ends nothing."""

import pytest

from services.profile.core.judgement import judgement
from services.profile.core.tags import conclude
from services.profile.core.timers import untils_ms
from tests.unit.profile.profile_builders import (
    CONFIG,
    CUTS,
    NOW_MS,
    TODAY,
    config_with,
    event,
    part_of,
    purchase,
    refund,
)

TICKET = "Service Ticket Opened"
COUPON = b'{"coupon":"A","products":[{"discount":1}]}'


def until_of(name, *events, config=CONFIG, now_ms=NOW_MS):
    """Days from TODAY on which the tag ends; None: nothing ends it."""
    facts = judgement((part_of(*events, config=config),), now_ms, CUTS, config).facts
    conclusion, _ = conclude(facts, [], "1.0.1", now_ms, config)
    assert name in conclusion.tags
    until = untils_ms(facts, conclusion, config)[name]
    return config.calendar.day(until) - TODAY if until else None


def defined(condition, ends=None):
    """A configuration with one tag of its own, `own`."""
    own = {"if": condition} | ({"ends": ends} if ends else {})
    return config_with(tags={"own": own})


@pytest.mark.parametrize(("name", "events", "days"), [
    ("new_customer", [purchase(4)], 27),
    ("newcomer", [event("Registered", 4)], 26),
    ("highly_interactive", [event(TICKET, days) for days in (9, 3, 3, 3, 3, 3)], 81),
    ("highly_interactive", [event(TICKET, days) for days in (9, 9, 3, 3, 3, 3, 3, 3)], 87),
    ("socially_active", [event("Content Shared", days) for days in (89, 89, 89)], 1),
    ("mature", [purchase(100), purchase(1), event("Member Activity Joined", 80)], 10),
    ("mature", [purchase(100), purchase(1), event("Member Activity Joined", 1)], 80),
    ("dormant", [purchase(200)], 166),
    ("big_spender", [purchase(days, 5_000_000) for days in (10, 20, 30)], 335),
    # R becomes 1 and stays; F is 4 until the first of the four is 365 days old.
    ("potential", [purchase(days, 1) for days in (150, 120, 120, 120)], 215),
    ("price_sensitive", [purchase(days, properties=COUPON) for days in (5, 6, 7)], 358),
])  # fmt: skip
def test_the_day_on_which_time_ends_it(name, events, days):
    assert until_of(name, *events) == days


@pytest.mark.parametrize(("name", "events"), [
    ("registered_no_purchase", [event("Registered", 4)]),
    ("growing", [purchase(4), event()]),
    ("at_risk", [event(days_ago=100)]),
    ("login_lapsed_30d", [event("Logged In", 100)]),
    ("churned", [event(days_ago=400)]),
    ("promising_first", [purchase(4, 4_900)]),
])  # fmt: skip
def test_what_only_the_customer_can_end_has_no_day(name, events):
    assert until_of(name, *events) is None


@pytest.mark.parametrize(("condition", "ends", "days"), [
    ("days_since(purchase) < 7", None, 4),
    ("days_since(purchase) <= 7", None, 5),
    ("days_since(purchase) <= 7.5", None, 5),
    ("days_since(purchase) < 7.5", None, 5),
    ("not days_since(purchase) > 7", None, 5),
    ("7 >= days_since(purchase) >= 3", None, 5),
    ("days_since(purchase) == 3", None, 1),
    ("days_since(purchase) != 9", None, 6),
    ("days_since(purchase) in [3, 4, 6]", None, 2),
    ("days_since('Order Completed') < 7", None, 4),
    ("orders(9) >= 1", None, 6),
    ("orders(9) == 1", None, 6),
    ("orders(9) > orders(2)", None, 6),
    ("spend(9) > 5", None, 6),
    ("interactions(9) / orders(30) >= 1", None, 6),
    ("orders(5) == 1 or orders(9) == 1", None, 6),
    ("orders(5) == 1", "orders(9) < 1", 6),
    ("orders(5) == 1", "days_since(purchase) > 20", 18),
    ("orders() == 1", None, None),
    ('stage == "first_purchase"', None, 178),
    ("r >= 5", None, 7),
    ("percentile(spend) > 5", None, 362),
    # TODAY is 27 May 2026: in June nothing happens, which is known on 1 July.
    ("months_falling(interactions) == 0", None, 35),
])  # fmt: skip
def test_each_kind_of_condition_after_one_purchase_three_days_ago(condition, ends, days):
    assert until_of("own", purchase(3, 2_000), config=defined(condition, ends)) == days


@pytest.mark.parametrize("order_id", ["", "never-bought"])
def test_a_refund_that_leaves_the_window_may_keep_a_tag_up(order_id):
    """Spend rises by itself then, whether the refund names no order or one that nobody bought."""
    config = defined("days_since(purchase) < 9", ends="m >= 4")
    events = [purchase(5, 6_000), refund(300, 5_900, order_id=order_id)]
    assert until_of("own", *events, config=config) == 65
