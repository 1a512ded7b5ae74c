"""What `go_on` says of the next event is what looking at everything anew would say; and it is not always silent."""

from copy import deepcopy

from hypothesis import event as seen_by_hypothesis
from hypothesis import given
from hypothesis import strategies as st

from services.profile.core.fold import MAX_NAMES, fold
from services.profile.core.judgement import go_on, judgement
from services.profile.core.state import View, encode
from services.profile.core.summary import counts_of, profile_head, profile_json
from services.profile.core.tags import conclude
from services.profile.core.timers import next_due_ms
from tests.property.profile.profile_naive import CALM, DAY_MS, NOW_MS, TRAITS, ZONES, event_lists
from tests.property.profile.test_time_properties import SMALL
from tests.unit.profile.profile_builders import CONFIG, CUTS, TODAY, at, event
from tests.unit.profile.profile_builders import NOW_MS as NOW_OF_BUILDERS

HOUR_MS = 3_600_000
later = st.sampled_from([0, 0, 0, 1, 29, 90, 91, 180, 181, 365, 366, 400]).map(lambda days: NOW_MS + days * DAY_MS)


@st.composite
def busy_days(draw):
    """Mostly pages, mostly in the order in which they happened, on two days."""
    names = ["Page Viewed"] * 6 + ["Product Viewed", "Identified", "Message Sent", "Logged In", "Order Completed"]
    day, events = draw(st.integers(0, 400)), []
    for number, name in enumerate(draw(st.lists(st.sampled_from(names), min_size=10, max_size=25))):
        events.append(
            event(
                name,
                type="identify" if name == "Identified" else "track",
                occurred_at=NOW_MS - day * DAY_MS + (number - draw(st.sampled_from([0, 0, 0, 1, 9, 30]))) * HOUR_MS,
                traits=draw(st.sampled_from(TRAITS)),
            )
        )
    return events


some_events = st.one_of(event_lists(), busy_days())


def fields(one: View) -> dict[str, object]:
    return {name: getattr(one, name) for name in View.__struct_fields__ if name != "clocks"}


@given(
    some_events,
    st.lists(st.sampled_from([0, 0, 0, 1]), min_size=25, max_size=25),
    later,
    st.sampled_from([*ZONES.values(), SMALL, SMALL]),
)
@CALM
def test_the_next_event_gives_what_looking_anew_gives(events, nodes, now_ms, config):
    parts, judged, held, head, counts = {}, None, None, b"", {}
    for one, node in zip(events, nodes, strict=False):
        part = parts.get(node)
        goes_on = judged is not None and part is not None and go_on(judged, part, one, config)
        plain = fold(deepcopy(part), one, config, is_plain=True) if goes_on else None
        parts[node] = fold(part, one, config)
        anew = judgement(tuple(parts.values()), now_ms, CUTS, config)
        before = [] if held is None else [held]
        conclusion, changes = conclude(anew.facts, before, one.place, one.occurred_at, config)
        if goes_on:
            assert encode(plain) == encode(parts[node])
            assert fields(judged.seen) == fields(anew.seen)
            assert (judged.rfm, held) == (anew.rfm, conclusion)
            assert changes.is_empty()
            assert next_due_ms(judged.facts_now(held), config) == next_due_ms(anew.facts, config)
            counts[one.name] = counts.get(one.name, 0) + 1
            assert counts == counts_of(anew.seen.parts)
            if one.traits:
                head = profile_head("c", judged.seen, held, judged.rfm)
            assert profile_json("c", judged.seen, held, judged.rfm, head, counts) == profile_json(
                "c", anew.seen, conclusion, anew.rfm
            )
        else:
            judged, held, counts = anew, conclusion, counts_of(anew.seen.parts)
            head = profile_head("c", judged.seen, held, judged.rfm)
        seen_by_hypothesis(f"goes on: {goes_on}")


@given(some_events, later)
@CALM
def test_a_view_that_does_not_go_on_stays_as_it_is(events, now_ms):
    part = None
    for one in events:
        if part is not None:
            judged = judgement((part,), now_ms, CUTS, CONFIG)
            before = fields(judged.seen)
            if not go_on(judged, part, one, CONFIG):
                assert fields(judged.seen) == before
        part = fold(part, one, CONFIG)


def judged_of(part):
    return judgement((part,), NOW_OF_BUILDERS, CUTS, CONFIG)


def test_another_page_on_the_same_day_goes_on():
    part = fold(None, event(occurred_at=at(0, 1_000)), CONFIG)
    judged = judged_of(part)
    assert go_on(judged, part, event(occurred_at=at(0, 2_000)), CONFIG)
    seen = judged.seen
    assert (seen.events, seen.last_ms, seen.activity_ms) == (2, at(0, 2_000), at(0, 2_000))


def test_an_event_that_a_measure_counts_does_not_go_on():
    part = fold(None, event("Product Viewed", occurred_at=at(0, 1_000)), CONFIG)
    judged = judged_of(part)
    assert not go_on(
        judged,
        part,
        event("Product Viewed", occurred_at=at(0, 2_000), properties=b'{"content_type": "review"}'),
        CONFIG,
    )
    assert go_on(judged, part, event("Product Viewed", occurred_at=at(0, 2_000), properties=b'{"size": 3}'), CONFIG)


def test_what_time_began_is_dated_anew_by_the_next_event_of_that_day():
    part = fold(None, event(days_ago=100, occurred_at=at(100, 1_000)), CONFIG)
    assert not go_on(judged_of(part), part, event(days_ago=100, occurred_at=at(100, 2_000)), CONFIG)


def test_a_new_name_may_push_a_counted_one_out():
    part = fold(None, event("Service Ticket Opened"), CONFIG)
    for number in range(MAX_NAMES - 1):
        fold(part, event(f"A {number}"), CONFIG)
    assert judged_of(part).facts.sum("service_or_social", 90, TODAY) == 1
    new = event("A new one", occurred_at=at(0) + 1)
    assert not go_on(judged_of(part), part, new, CONFIG)
    assert judged_of(fold(part, new, CONFIG)).facts.sum("service_or_social", 90, TODAY) == 0


def test_the_interaction_that_a_condition_waits_for_does_not_go_on():
    part = fold(None, event(occurred_at=at(0, 1_000)), CONFIG)
    for number in range(2, 6):
        judged = judged_of(part)
        assert go_on(judged, part, event(occurred_at=at(0, number * 1_000)), CONFIG)
        fold(part, event(occurred_at=at(0, number * 1_000)), CONFIG)
    assert not go_on(judged_of(part), part, event(occurred_at=at(0, 9_000)), CONFIG)


def test_interactions_of_one_batch_are_counted_up_to_that_one():
    part = fold(None, event(occurred_at=at(0, 1_000)), CONFIG)
    judged = judged_of(part)
    assert [go_on(judged, part, event(occurred_at=at(0, n * 1_000)), CONFIG) for n in range(2, 8)] == [True] * 4 + [
        False
    ] * 2


def test_the_first_interaction_does_not_go_on():
    part = fold(None, event("Coupon Shown", type="identify", occurred_at=at(0, 1_000)), CONFIG)
    assert not go_on(judged_of(part), part, event("Coupon Shown", occurred_at=at(0, 2_000)), CONFIG)
