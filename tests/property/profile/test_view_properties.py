"""A view equals brute force over the raw events, however they are spread over parts."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.profile.core.fold import fold
from services.profile.core.rfm import score
from services.profile.core.state import View
from services.profile.core.summary import counts_of, traits_of
from services.profile.core.view import view
from tests.property.profile.profile_naive import CALM, DAY_MS, NOW_MS, ZONES, event_lists, naive_view
from tests.unit.profile.profile_builders import CUTS


def spread(events, nodes, config):
    """The events as one part per node."""
    parts = {}
    for event, node in zip(events, nodes, strict=False):
        parts[node] = fold(parts.get(node), event, config)
    return list(parts.values())


def scalars(one):
    return {name: getattr(one, name) for name in View.__struct_fields__ if name not in ("parts", "clocks")}


nodes_of = st.lists(st.integers(0, 2), min_size=25, max_size=25)
later = st.integers(0, 900).map(lambda days: NOW_MS + days * DAY_MS)


@given(event_lists(), nodes_of, later, st.sampled_from(sorted(ZONES)))
@CALM
def test_a_view_equals_brute_force(events, nodes, now_ms, zone):
    config = ZONES[zone]
    one = view(spread(events, nodes, config), now_ms, config)
    expected = naive_view(events, now_ms, config)
    assert {name: getattr(one, name) for name in expected} == expected


@given(event_lists(), nodes_of, later, st.permutations(range(3)))
@CALM
def test_parts_merge_to_the_fold_of_all_their_events_in_any_order(events, nodes, now_ms, order):
    config = ZONES["Asia/Shanghai"]
    parts = spread(events, nodes, config)
    whole = spread(events, [0] * len(events), config)
    shuffled = [parts[i] for i in order if i < len(parts)]
    assert scalars(view(shuffled, now_ms, config)) == scalars(view(whole, now_ms, config))
    assert traits_of(tuple(shuffled)) == traits_of(tuple(whole))
    assert counts_of(tuple(shuffled)) == counts_of(tuple(whole))


@given(event_lists(), nodes_of, st.lists(later, min_size=2, max_size=4))
@CALM
def test_as_time_passes_recency_grows_and_windows_shrink(events, nodes, moments):
    config = ZONES["Asia/Shanghai"]
    parts = spread(events, nodes, config)
    views = [view(parts, now_ms, config) for now_ms in sorted(moments)]
    for earlier, after in pairwise(views):
        assert after.frequency <= earlier.frequency
        a, b = score(earlier, CUTS, config), score(after, CUTS, config)
        assert b.recency_days >= a.recency_days
        assert b.r <= a.r
        assert b.f <= a.f
