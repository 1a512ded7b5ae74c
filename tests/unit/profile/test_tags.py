"""Where each tag begins and ends, and what a conclusion says about it."""

import msgspec
import pytest

from services.profile.core.judgement import judgement
from services.profile.core.state import Conclusion, TagState
from services.profile.core.tags import conclude
from tests.unit.profile.profile_builders import (
    CONFIG,
    CUTS,
    NOW_MS,
    TODAY,
    at,
    concluded,
    event,
    purchase,
    scored,
    tags_of,
)

SERVICE = "Service Ticket Opened"


@pytest.mark.parametrize(("days_ago", "holds"), [(0, True), (29, True), (30, True), (31, False)])
def test_new_customer_holds_up_to_thirty_days_after_the_first_purchase(days_ago, holds):
    assert ("new_customer" in tags_of(purchase(days_ago), purchase(0))) is holds


@pytest.mark.parametrize(("days_ago", "holds"), [(0, True), (29, True), (30, False), (31, False)])
def test_newcomer_holds_for_less_than_thirty_days_after_registration(days_ago, holds):
    assert ("newcomer" in tags_of(event("Registered", days_ago))) is holds


@pytest.mark.parametrize("name", ["Logged In", "Registered", "Order Completed"])
@pytest.mark.parametrize(("days_ago", "holds"), [(29, False), (30, False), (31, True)])
def test_login_lapses_after_more_than_thirty_days_without_login_or_purchase(name, days_ago, holds):
    assert ("login_lapsed_30d" in tags_of(event(name, days_ago), event("Page Viewed", 0))) is holds


def test_login_never_lapses_for_someone_who_never_had_one():
    assert "login_lapsed_30d" not in tags_of(event("Page Viewed", 200))


@pytest.mark.parametrize("name", ["Page Viewed", "Order Completed"])
@pytest.mark.parametrize(("days_ago", "holds"), [(89, False), (90, False), (91, True), (181, True), (366, True)])
def test_at_risk_holds_after_more_than_ninety_days_without_interaction_or_purchase(name, days_ago, holds):
    assert ("at_risk" in tags_of(event(name, days_ago))) is holds


@pytest.mark.parametrize(("days_ago", "holds"), [(180, False), (181, True), (365, True), (366, False)])
def test_dormant_holds_until_the_customer_is_churned(days_ago, holds):
    assert ("dormant" in tags_of(purchase(days_ago))) is holds


@pytest.mark.parametrize("name", ["Order Completed", "Logged In", "Registered", "Message Opened"])
@pytest.mark.parametrize(("days_ago", "holds"), [(365, False), (366, True)])
def test_churned_holds_after_more_than_a_year_without_login_purchase_or_response(name, days_ago, holds):
    assert ("churned" in tags_of(purchase(399), event(name, days_ago))) is holds


def test_registered_no_purchase_ends_with_the_first_purchase():
    registered = event("Registered", 3)
    assert "registered_no_purchase" in tags_of(registered)
    assert "registered_no_purchase" not in tags_of(registered, purchase(0))


@pytest.mark.parametrize(("count", "holds"), [(5, False), (6, True)])
def test_more_than_five_service_or_social_interactions_are_many(count, holds):
    events = [event(SERVICE if i % 2 else "Content Shared", i) for i in range(count)]
    assert ("highly_interactive" in tags_of(*events)) is holds


@pytest.mark.parametrize(("days_ago", "holds"), [(89, True), (90, False)])
def test_interactions_count_for_ninety_days_today_included(days_ago, holds):
    events = [event(SERVICE, 0) for _ in range(5)] + [event(SERVICE, days_ago)]
    assert ("highly_interactive" in tags_of(*events)) is holds


def cuts_of_composites(*ninety_nine):
    return msgspec.structs.replace(CUTS, composite_percentiles=ninety_nine)


@pytest.mark.parametrize(("cut", "holds"), [(4, True), (5, False)])
def test_high_value_needs_the_composite_of_the_top_tenth(cut, holds):
    cuts = cuts_of_composites(*[3] * 89, *[cut] * 10)
    one = scored(purchase(60), thresholds=cuts)
    assert (one.r, one.f, one.m) == (3, 1, 1)
    assert ("high_value" in tags_of(purchase(60), thresholds=cuts)) is holds


@pytest.mark.parametrize(("days_ago", "holds"), [(99, False), (100, True)])
def test_potential_begins_when_recency_falls_to_two_while_frequency_is_high(days_ago, holds):
    assert ("potential" in tags_of(*[purchase(days_ago) for _ in range(4)])) is holds


@pytest.mark.parametrize(("amount_minor", "holds"), [(5_000, False), (5_001, True)])
def test_potential_counts_spend_as_well_and_a_tie_shares_the_lower_score(amount_minor, holds):
    assert ("potential" in tags_of(purchase(120, amount_minor))) is holds


@pytest.mark.parametrize(
    ("amount_minor", "count", "holds"), [(10_001, 6, True), (10_000, 6, False), (10_001, 5, False)]
)
def test_vip_needs_top_spend_and_many_interactions(amount_minor, count, holds):
    events = [event(SERVICE, i) for i in range(count)]
    assert ("vip" in tags_of(purchase(1, amount_minor), *events)) is holds


def test_score_tags_never_hold_without_thresholds():
    events = [purchase(150, 1_000_000) for _ in range(9)] + [event(SERVICE) for _ in range(9)]
    assert not tags_of(*events, thresholds=None) & {"high_value", "potential", "vip"}


def test_a_tag_that_an_event_begins_is_anchored_in_it():
    conclusion, changes = concluded(purchase(0), cause="1.2.77")
    assert conclusion.tags["new_customer"] == TagState(
        NOW_MS, "1.2.77", f"first purchase on {CONFIG.calendar.text(TODAY)}"
    )
    assert ("new_customer", "1.2.77", conclusion.tags["new_customer"].reason) in changes.tags_added


def test_a_tag_that_time_begins_is_anchored_in_the_event_that_set_its_clock_whoever_notices():
    last = event("Page Viewed", 95, place="1.0.42")
    by_tick, _ = concluded(last, cause="")
    by_late_event, _ = concluded(last, event("Page Viewed", 200), cause="1.9.9")
    for conclusion in (by_tick, by_late_event):
        state = conclusion.tags["at_risk"]
        assert (state.anchor, state.since_ms) == ("1.0.42", CONFIG.calendar.start_ms(TODAY - 95 + 91))
        assert state.reason == f"no interaction or purchase since {CONFIG.calendar.text(TODAY - 95)} (91 days)"


def test_someone_who_never_did_anything_is_at_risk_since_they_became_known():
    imported = event("Identified", 91, type="identify", place="1.0.5")
    state = concluded(imported)[0].tags["at_risk"]
    assert state.anchor == "1.0.5"
    assert state.reason == f"no interaction or purchase since {CONFIG.calendar.text(TODAY - 91)} (91 days)"


def test_a_held_tag_is_not_added_again_and_keeps_its_beginning():
    first, _ = concluded(purchase(3), cause="1.0.1")
    second, changes = concluded(purchase(3), purchase(0), before=(first,), cause="1.0.2")
    assert second.tags["new_customer"] == first.tags["new_customer"]
    assert "new_customer" not in [name for name, _, _ in changes.tags_added]


def test_a_merge_adds_no_tag_that_either_side_held_and_keeps_the_earliest_beginning():
    own, _ = concluded(purchase(3), cause="1.0.9", now_ms=at(3))
    taken, _ = concluded(purchase(5), cause="1.0.4", now_ms=at(5))
    merged, changes = concluded(purchase(3), purchase(5), before=(own, taken), cause="1.1.1")
    assert merged.tags["new_customer"] == taken.tags["new_customer"]
    assert "new_customer" not in [name for name, _, _ in changes.tags_added]
    assert (changes.stage_from, changes.stage_to) == ("first_purchase", "repeat")


def test_a_merge_removes_what_the_other_side_held_and_is_over():
    own, _ = concluded(purchase(3))
    taken, _ = concluded(event("Registered", 2))
    _, changes = concluded(purchase(3), event("Registered", 2), before=(own, taken), cause="1.1.1")
    assert "registered_no_purchase" in changes.tags_removed


def test_a_late_event_moves_the_clock_of_a_held_tag_without_adding_it():
    before, _ = concluded(event("Page Viewed", 120, place="1.0.1"))
    after, changes = concluded(
        event("Page Viewed", 120, place="1.0.1"), event("Page Viewed", 100, place="1.0.2"), before=(before,)
    )
    assert after.tags["at_risk"].anchor == "1.0.2"
    assert changes.is_empty()


def test_a_tag_that_a_tick_begins_without_a_clock_of_its_own_is_anchored_in_the_last_purchase():
    cuts = msgspec.structs.replace(cuts_of_composites(*[3] * 99), version=9)
    conclusion, changes = concluded(purchase(5, place="1.0.8"), thresholds=cuts, cause="")
    assert conclusion.tags["high_value"].anchor == "1.0.8"
    assert conclusion.tags["high_value"].since_ms == CONFIG.calendar.start_ms(TODAY)
    assert "thresholds 9" in conclusion.tags["high_value"].reason
    assert changes.stage_from == ""


def test_potential_dates_from_the_day_its_recency_score_fell():
    state = concluded(*[purchase(120, place=f"1.0.{i}") for i in range(4)], cause="")[0].tags["potential"]
    assert (state.since_ms, state.anchor) == (CONFIG.calendar.start_ms(TODAY - 20), "1.0.3")
    assert "R fell to 2" in state.reason


def test_nothing_new_changes_nothing():
    first, _ = concluded(purchase(3))
    again, changes = concluded(purchase(3), before=(first,), cause="1.0.2")
    assert again == first
    assert changes.is_empty()


def test_a_customer_without_any_part_has_a_stage_and_no_tags():
    empty = judgement((), NOW_MS, CUTS, CONFIG)
    conclusion, _ = conclude(empty.facts, [Conclusion()], "", NOW_MS, CONFIG)
    assert (conclusion.stage, conclusion.tags) == ("prospect", {})
