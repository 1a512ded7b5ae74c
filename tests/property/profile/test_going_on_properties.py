"""What `go_on` says of the next event is what looking at everything anew would say; and it is not always silent."""

from hypothesis import event as seen_by_hypothesis
from hypothesis import given
from hypothesis import strategies as st

from services.profile.core.fold import MAX_NAMES, fold
from services.profile.core.rfm import score
from services.profile.core.state import View
from services.profile.core.summary import counts_of, profile_head, profile_json
from services.profile.core.tags import conclude
from services.profile.core.view import go_on, view
from tests.property.profile.profile_naive import CALM, DAY_MS, NOW_MS, TRAITS, ZONES, event_lists
from tests.unit.profile.profile_builders import CONFIG, CUTS, at, event
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
    return {name: getattr(one, name) for name in View.__struct_fields__}


@given(
    some_events,
    st.lists(st.sampled_from([0, 0, 0, 1]), min_size=25, max_size=25),
    later,
    st.sampled_from(sorted(ZONES)),
)
@CALM
def test_the_next_event_gives_what_looking_anew_gives(events, nodes, now_ms, zone):
    config, parts, seen, rfm, held, head, counts = ZONES[zone], {}, None, None, None, b"", {}
    for one, node in zip(events, nodes, strict=False):
        part = parts.get(node)
        goes_on = seen is not None and part is not None and go_on(seen, part, one, config)
        parts[node] = fold(part, one, config)
        anew = view(parts.values(), now_ms, config)
        anew_rfm = score(anew, CUTS, config)
        before = [] if held is None else [held]
        conclusion, changes = conclude(anew, anew_rfm, before, one.place, one.occurred_at, config)
        if goes_on:
            assert fields(seen) == fields(anew)
            assert (rfm, held) == (anew_rfm, conclusion)
            assert changes.is_empty()
            counts[one.name] += 1
            assert counts == counts_of(anew.parts)
            if one.traits:
                head = profile_head("c", seen, held, rfm)
            assert profile_json("c", seen, held, rfm, head, counts) == profile_json("c", anew, conclusion, anew_rfm)
        else:
            seen, rfm, held, counts = anew, anew_rfm, conclusion, counts_of(anew.parts)
            head = profile_head("c", seen, held, rfm)
        seen_by_hypothesis(f"goes on: {goes_on}")


@given(some_events, later)
@CALM
def test_a_view_that_does_not_go_on_stays_as_it_is(events, now_ms):
    part = None
    for one in events:
        if part is not None:
            seen = view([part], now_ms, CONFIG)
            before = fields(seen)
            if not go_on(seen, part, one, CONFIG):
                assert fields(seen) == before
        part = fold(part, one, CONFIG)


def test_another_page_on_the_same_day_goes_on():
    part = fold(None, event(occurred_at=at(0, 1_000)), CONFIG)
    seen = view([part], NOW_OF_BUILDERS, CONFIG)
    assert go_on(seen, part, event(occurred_at=at(0, 2_000)), CONFIG)
    assert (seen.events, seen.last_ms, seen.activity_ms) == (2, at(0, 2_000), at(0, 2_000))


def test_what_time_began_is_dated_anew_by_the_next_event_of_that_day():
    part = fold(None, event(days_ago=100, occurred_at=at(100, 1_000)), CONFIG)
    assert not go_on(view([part], NOW_OF_BUILDERS, CONFIG), part, event(occurred_at=at(100, 2_000)), CONFIG)


def test_a_new_name_may_push_a_counted_one_out():
    part = fold(None, event("Service Ticket Opened"), CONFIG)
    for number in range(MAX_NAMES - 1):
        fold(part, event(f"A {number}"), CONFIG)
    seen = view([part], NOW_OF_BUILDERS, CONFIG)
    assert seen.engaged == 1
    new = event("A new one", occurred_at=at(0) + 1)
    assert not go_on(seen, part, new, CONFIG)
    assert view([fold(part, new, CONFIG)], NOW_OF_BUILDERS, CONFIG).engaged == 0


def test_the_first_interaction_does_not_go_on():
    part = fold(None, event("Coupon Shown", type="identify", occurred_at=at(0, 1_000)), CONFIG)
    seen = view([part], NOW_OF_BUILDERS, CONFIG)
    assert not go_on(seen, part, event("Coupon Shown", occurred_at=at(0, 2_000)), CONFIG)
