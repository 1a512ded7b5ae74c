"""Folding does not care about order, neither within its bounds nor beyond them."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from services.profile.core import fold as folding
from services.profile.core import traits
from services.profile.core.fold import fold
from services.profile.core.state import encode
from tests.property.profile.profile_naive import CALM, CONFIG, event_lists
from tests.unit.profile.profile_builders import decode_part


def folded(events, part=None):
    for event in events:
        part = fold(part, event, CONFIG)
    return part


@given(event_lists(max_days=1_000), st.randoms(use_true_random=False))
@CALM
def test_any_order_of_the_same_events_gives_the_same_bytes(events, rng):
    expected = encode(folded(events))
    rng.shuffle(events)
    assert encode(folded(events)) == expected


@given(event_lists(max_days=1_000), st.randoms(use_true_random=False))
@CALM
def test_the_bounds_do_not_make_order_matter(events, rng):
    limits = {"MAX_NAMES": 3, "MAX_IDENTIFIERS": 1}
    with patch.multiple(folding, **limits), patch.object(traits, "MAX_TRAITS", 2):
        expected = encode(folded(events))
        rng.shuffle(events)
        part = folded(events)
    assert encode(part) == expected
    assert len(part.identifiers) <= 1
    assert sum(len(write.fields) for write in part.writes) <= 2
    assert len(part.counters) <= 4
    assert sum(ring.total for ring in part.counters.values()) == len(events)


@given(event_lists(), st.integers(0, 25))
@CALM
def test_state_read_back_between_two_events_goes_on_as_if_kept(events, cut):
    kept = folded(events)
    read = folded(events[:cut])
    if read is not None:
        read = decode_part(encode(read))
    assert encode(folded(events[cut:], read)) == encode(kept)


@given(event_lists(max_days=1_000))
@CALM
def test_a_part_holds_nothing_older_than_its_ring(events):
    part = folded(events)
    oldest = part.newest_day - folding.RING_DAYS
    rings = [*part.counters.values(), *part.money.values()]
    assert all(day > oldest for ring in rings for day in ring.days)
    assert all(ring.days == sorted(set(ring.days)) and len(ring.days) == len(ring.values) for ring in rings)
