"""What one event leaves in its part, and how little."""

from unittest.mock import patch

from services.profile.core import fold as folding
from services.profile.core.fold import fold, has_seen
from services.profile.core.judgement import judgement
from services.profile.core.state import encode
from tests.unit.profile.profile_builders import (
    CONFIG,
    CUTS,
    NOW_MS,
    TODAY,
    config_with,
    decode_part,
    event,
    part_of,
    purchase,
    refund,
)


def test_a_ring_keeps_four_hundred_days_and_the_lifetime_sum():
    part = part_of(event("A", 400), event("A", 399), event("A", 0))
    ring = part.counters["A"]
    assert (ring.days, ring.values, ring.total) == ([TODAY - 399, TODAY], [1, 1], 3)


def test_an_event_older_than_the_ring_counts_for_life_only():
    part = part_of(refund(0, 100), refund(400, 900))
    assert part.money["CNY"].total == -1_000
    assert (part.money["CNY"].days, part.money["CNY"].values) == ([TODAY], [-100])


def test_fold_works_in_place():
    part = part_of(event("A"))
    assert fold(part, event("B"), CONFIG) is part


def test_the_event_is_not_kept():
    stated = event("Identified", traits={"a": 1}, type="identify")
    part = part_of(stated)
    fold(part, event("Identified", -1, traits={"a": 2}, type="identify"), CONFIG)
    assert stated.traits == {"a": 1}


def test_names_beyond_the_limit_share_one_counter_and_are_never_first_again():
    with patch.object(folding, "MAX_NAMES", 2):
        part = part_of(*[event(name) for name in ("D", "B", "C", "A", "D", "C")])
    assert {name: ring.total for name, ring in part.counters.items()} == {"": 4, "A": 1, "B": 1}
    assert has_seen(part, "Z")


def test_has_seen_tells_the_first_event_of_a_name():
    part = part_of(event("A"))
    assert has_seen(part, "A")
    assert not has_seen(part, "B")


def test_a_customer_with_fifty_events_takes_about_a_kilobyte_and_ten_times_as_many_not_twice_that():
    names = ["Product Viewed", "Page Viewed", "Cart Viewed", "Product Added", "Logged In", "Message Opened"]

    def some(count):
        return [
            event(
                names[i % 6],
                7 * (i % 50),
                identifiers=("user_id:u-1****890", "phone:+86138****5678", "email:l***@x.cn"),
            )
            for i in range(count)
        ]

    small, large = encode(part_of(*some(50))), encode(part_of(*some(500)))
    assert len(small) <= 1_024
    assert len(large) <= 2 * len(small)


def test_bytes_of_an_older_version_without_the_newest_fields_stay_readable():
    import msgspec

    fields = msgspec.msgpack.decode(encode(part_of(purchase(1))))
    older = msgspec.msgpack.encode(fields[:4])
    assert decode_part(older).events == 1


def test_going_back_to_earlier_counters_is_seen_as_an_incomplete_count():
    """Events that were folded under other counters are in neither: only a backfill makes the count whole again."""
    teas = {"teas": {"events": ["A"], "where": 'category == "tea"'}}
    first = config_with(counters=teas, tags={"tea": {"if": "teas() >= 2"}})
    second = config_with(counters=teas | {"cups": {"events": ["A"], "sum": "n"}}, tags={"cup": {"if": "cups() >= 2"}})
    tea = event("A", properties=b'{"category": "tea"}')
    part = part_of(tea, config=first)
    assert not facts_of(part, first).missing_measures()
    part = part_of(event("B"), config=second, part=part)
    for config in (second, first):
        part = part_of(tea, config=config, part=part)
        assert facts_of(part, config).missing_measures()


def test_who_did_nothing_meanwhile_is_complete_after_going_back():
    first = config_with(counters={"teas": {"events": ["A"], "sum": "n"}}, tags={"tea": {"if": "teas() >= 2"}})
    second = config_with(counters={"cups": {"events": ["A"], "sum": "n"}}, tags={"cup": {"if": "cups() >= 2"}})
    part = part_of(event("A"), config=first)
    assert facts_of(part, second).missing_measures()
    assert not facts_of(part, first).missing_measures()


def facts_of(part, config):
    return judgement((part,), NOW_MS, CUTS, config).facts
