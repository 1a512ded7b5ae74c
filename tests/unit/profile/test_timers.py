"""The next moment at which time alone changes something."""

import pytest

from services.profile.core.judgement import judgement
from services.profile.core.timers import next_due_ms
from tests.unit.profile.profile_builders import CONFIG, CUTS, NOW_MS, TODAY, event, part_of, purchase

SERVICE = "Service Ticket Opened"


def due_in_days(*events, thresholds=CUTS):
    """Days from TODAY to the start of the day that is due; None: never."""
    judged = judgement((part_of(*events),), NOW_MS, thresholds, CONFIG)
    due = next_due_ms(judged.facts, CONFIG)
    if due is None:
        return None
    day = CONFIG.calendar.day(due)
    assert CONFIG.calendar.start_ms(day) == due > NOW_MS
    return day - TODAY


def test_a_registration_is_next_due_when_the_newcomer_is_none():
    assert due_in_days(event("Registered", 10)) == 20


@pytest.mark.parametrize(
    ("days_ago", "due"), [(0, 91), (90, 1), (91, 90), (180, 1), (181, 185), (365, 1), (366, None), (399, None)]
)
def test_a_visitor_is_due_at_risk_then_dormant_then_churned_and_then_never(days_ago, due):
    assert due_in_days(event("Page Viewed", days_ago)) == due


def test_a_buyer_is_due_when_the_recency_score_falls():
    assert due_in_days(purchase(95)) == 100 - 95
    assert due_in_days(purchase(95), thresholds=None) == 181 - 95


def test_an_order_or_its_money_leaving_the_window_is_due():
    recent = event("Page Viewed", 0), purchase(201)
    assert due_in_days(*recent, purchase(350, order_id="A")) == 15
    # Told again, it is an order of that day, and so is its money.
    assert due_in_days(*recent, purchase(350, order_id="A"), purchase(201, order_id="A")) == 91
    assert due_in_days(*recent, event("Order Refunded", 360, amount_minor=5, currency="CNY")) == 5


def test_many_interactions_are_due_when_the_sixth_newest_leaves():
    events = [event(SERVICE, days) for days in (80, 70, 60, 50, 40, 30, 20)]
    assert due_in_days(*events) == 20
    assert due_in_days(*events[2:]) == 71


def test_the_sixth_newest_is_found_over_several_names():
    tickets = [event(SERVICE, days) for days in (80, 79, 78, 77, 76, 75)]
    assert due_in_days(*tickets, event("Content Shared", 85), event("Page Viewed")) == 10


def test_loyal_is_due_when_the_last_purchase_is_too_old():
    assert due_in_days(*[purchase(days) for days in (300, 200, 150, 89)], thresholds=None) == 2
