"""Which stage a customer is in, and since when."""

import pytest

from tests.unit.profile.profile_builders import CONFIG, NOW_MS, TODAY, at, concluded, event, purchase


def stage(*events):
    return concluded(*events)[0].stage


def test_someone_without_purchase_is_a_prospect():
    assert stage(event("Page Viewed", 3)) == "prospect"


def test_one_purchase_is_a_first_purchase_and_a_second_a_repeat():
    assert stage(purchase(9)) == "first_purchase"
    assert stage(purchase(9), purchase(3)) == "repeat"


def test_several_events_of_one_order_are_one_purchase():
    assert stage(purchase(9, order_id="A-1"), purchase(3, order_id="A-1")) == "first_purchase"


def test_a_purchase_older_than_the_ring_still_makes_the_next_one_a_repeat():
    assert stage(purchase(900), purchase(3)) == "repeat"
    assert stage(purchase(3), purchase(900)) == "repeat"


@pytest.mark.parametrize(("last", "expected"), [(90, "loyal"), (91, "repeat")])
def test_loyal_needs_the_last_purchase_at_most_ninety_days_ago(last, expected):
    assert stage(*[purchase(days) for days in (300, 200, 150, last)]) == expected


@pytest.mark.parametrize(("oldest", "expected"), [(364, "loyal"), (365, "repeat")])
def test_loyal_needs_four_purchases_within_the_window_today_included(oldest, expected):
    assert stage(*[purchase(days) for days in (oldest, 200, 150, 10)]) == expected


@pytest.mark.parametrize(
    ("days_ago", "expected"), [(180, "first_purchase"), (181, "dormant"), (365, "dormant"), (366, "churned")]
)
def test_silence_makes_dormant_and_then_churned(days_ago, expected):
    assert stage(purchase(days_ago)) == expected


def test_an_interaction_ends_dormant():
    assert stage(purchase(300), event("Page Viewed", 2)) == "first_purchase"


def test_browsing_alone_does_not_keep_a_buyer_from_being_churned_but_a_response_does():
    assert stage(purchase(380), event("Page Viewed", 2)) == "churned"
    assert stage(purchase(380), event("Message Opened", 2)) == "first_purchase"


def test_a_visitor_who_never_logged_in_or_bought_is_not_churned_while_browsing():
    assert stage(event("Page Viewed", 500), event("Page Viewed", 2)) == "prospect"


@pytest.mark.parametrize("name", ["Message Delivered", "Order Cancelled"])
def test_what_the_system_does_is_no_interaction(name):
    assert stage(purchase(200), event(name, 1)) == "dormant"


@pytest.mark.parametrize("kind", ["identify", "group", "alias"])
def test_stating_who_somebody_is_is_no_interaction(kind):
    assert stage(purchase(200), event("Identified", 1, type=kind)) == "dormant"


def test_dormant_and_churned_began_at_their_exact_day():
    for days_ago, begun in ((200, 181), (400, 366)):
        conclusion, _ = concluded(purchase(days_ago), cause="1.0.1")
        assert conclusion.stage_since_ms == CONFIG.calendar.start_ms(TODAY - days_ago + begun)


def test_a_stage_keeps_its_beginning_until_it_changes():
    first, _ = concluded(purchase(5), now_ms=at(5), cause="1.0.1")
    again, changes = concluded(purchase(5), before=(first,))
    assert again.stage_since_ms == at(5)
    assert changes.stage_from == changes.stage_to == "first_purchase"
    repeat, changes = concluded(purchase(5), purchase(0), before=(again,))
    assert (changes.stage_from, changes.stage_to, repeat.stage_since_ms) == ("first_purchase", "repeat", NOW_MS)


def test_a_stage_that_a_tick_begins_dates_from_the_start_of_the_day():
    purchases = [purchase(days) for days in (300, 200, 150, 91)]
    loyal, _ = concluded(*purchases, now_ms=at(1))
    repeat, changes = concluded(*purchases, before=(loyal,), cause="")
    assert (changes.stage_from, changes.stage_to) == ("loyal", "repeat")
    assert repeat.stage_since_ms == CONFIG.calendar.start_ms(TODAY)


def test_a_merge_keeps_the_earliest_beginning_of_a_stage_that_goes_on():
    young, _ = concluded(event("Page Viewed", 1), now_ms=at(1))
    old, _ = concluded(event("Page Viewed", 9), now_ms=at(9))
    for before in ((young, old), (old, young)):
        merged, _ = concluded(event("Page Viewed", 1), event("Page Viewed", 9), before=before)
        assert (merged.stage, merged.stage_since_ms) == ("prospect", at(9))
