"""The JSON that rules, templates and the archive read."""

import json

from services.profile.core.fold import fold
from services.profile.core.judgement import judgement
from services.profile.core.state import encode
from services.profile.core.summary import profile_json, snapshot_fields, traits_of
from services.profile.core.tags import conclude
from tests.unit.profile.profile_builders import CONFIG, CUTS, NOW_MS, at, decode_part, event, part_of, purchase


def judged(parts):
    one = judgement(tuple(parts), NOW_MS, CUTS, CONFIG)
    conclusion, _ = conclude(one.facts, [], "1.0.3", NOW_MS, CONFIG)
    return one.seen, conclusion, one.rfm


def stated(days_ago, traits, **fields):
    return event("Identified", days_ago, type="identify", traits=traits, **fields)


def test_the_profile_holds_what_the_contract_names():
    parts = [part_of(stated(9, {"name": "Li Lei"}), event("Page Viewed", 2), purchase(1, 500), purchase(1, 700))]
    profile = json.loads(profile_json("c-1", *judged(parts)))
    assert profile["customer_id"] == "c-1"
    assert profile["traits"] == {"name": "Li Lei"}
    assert profile["tags"]["new_customer"] == {"since": NOW_MS, "reason": "first purchase on 2026-05-26"}
    assert profile["stage"] == "repeat"
    assert profile["rfm"] == {
        "recency_days": 1,
        "frequency": 2,
        "monetary_minor": 1200,
        "currency": "CNY",
        "r": 5,
        "f": 2,
        "m": 2,
        "composite": 9,
        "thresholds_version": 7,
    }
    assert profile["counts"] == {"Identified": 1, "Page Viewed": 1, "Order Completed": 2}
    assert (profile["first_seen"], profile["last_seen"]) == (at(9), at(1))


def test_the_bytes_do_not_depend_on_how_the_state_came_about():
    events = [stated(3, {"b": 1, "a": 2}), event("Z"), event("A"), purchase(2)]
    kept = part_of(*events)
    read = decode_part(encode(part_of(*reversed(events))))
    assert profile_json("c", *judged([kept])) == profile_json("c", *judged([read]))


def test_counts_and_traits_of_several_parts_are_merged():
    parts = [
        part_of(stated(9, {"city": "old", "name": "Li"}), event("A")),
        part_of(stated(2, {"city": "new"}), event("A"), event("B")),
    ]
    profile = json.loads(profile_json("c", *judged(parts)))
    assert profile["traits"] == {"city": "new", "name": "Li"}
    assert profile["counts"] == {"Identified": 2, "A": 2, "B": 1}


def test_the_snapshot_lists_tags_by_name_and_masked_identifiers_once():
    parts = [
        part_of(purchase(1, identifiers=("phone:+86138****5678", "user_id:u"))),
        part_of(event("Registered", 1, identifiers=("phone:+86138****5678",))),
    ]
    fields = snapshot_fields(*judged(parts))
    assert [tag["name"] for tag in json.loads(fields["tags"])] == ["growing", "new_customer", "newcomer"]
    assert fields["identifiers"] == ["phone:+86138****5678", "user_id:u"]
    assert (fields["events"], fields["recency_days"], fields["stage"]) == (2, 1, "first_purchase")


def test_an_import_never_overwrites_a_newer_trait():
    part = part_of(stated(1, {"city": "new"}, source="app"))
    fold(part, stated(400, {"city": "old", "birthday": "1990-01-01"}, source="crm", flags=1), CONFIG)
    assert traits_of((part,)) == {"birthday": "1990-01-01", "city": "new"}


def test_null_hides_a_trait_until_it_is_stated_again():
    part = part_of(stated(5, {"city": "x"}), stated(3, {"city": None}))
    assert traits_of((part,)) == {}
    fold(part, stated(1, {"city": "y"}), CONFIG)
    assert traits_of((part,)) == {"city": "y"}


def test_traits_of_the_same_moment_are_won_by_the_greater_event_id():
    low, high = stated(1, {"x": "low"}, event_id="a"), stated(1, {"x": "high"}, event_id="b")
    assert traits_of((part_of(low, high),)) == traits_of((part_of(high, low),)) == {"x": "high"}
    assert traits_of((part_of(high), part_of(low))) == {"x": "high"}


def test_set_once_fills_only_what_nobody_has_set_and_the_earliest_counts():
    events = [
        stated(9, {"$set_once": {"channel": "poster", "city": "once"}}),
        stated(5, {"$set_once": {"channel": "search", "first_page": "/tea"}}),
        stated(7, {"city": "stated"}),
    ]
    for order in (events, events[::-1], [events[1], events[2], events[0]]):
        assert traits_of((part_of(*order),)) == {"channel": "poster", "city": "stated", "first_page": "/tea"}
    parts = tuple(part_of(one) for one in events)
    assert traits_of(parts) == {"channel": "poster", "city": "stated", "first_page": "/tea"}


def test_unset_hides_a_field_until_it_is_set_again_and_set_once_does_not_bring_it_back():
    events = [
        stated(9, {"city": "x", "name": "Li"}),
        stated(5, {"$unset": ["city"]}),
        stated(3, {"$set_once": {"city": "z"}}),
    ]
    assert traits_of((part_of(*events),)) == {"name": "Li"}
    assert traits_of((part_of(*events, stated(1, {"city": "y"})),)) == {"name": "Li", "city": "y"}
    assert traits_of((part_of(stated(9, {"city": "x"}), stated(8, {"$unset": "city"})),)) == {}
