"""Scores equal their definition: 1 + floor(5 × share of buyers strictly worse)."""

from hypothesis import given
from hypothesis import strategies as st

from services.profile.core.population import compute_thresholds
from tests.property.profile.profile_naive import CALM

rows_of = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6), st.integers(-20, 60)), min_size=1, max_size=60)


def by_cuts(row, cuts):
    days, orders, net = row
    return (
        1 + sum(cut > days for cut in cuts.recency_days),
        1 + sum(cut < orders for cut in cuts.frequency),
        1 + sum(cut < net for cut in cuts.monetary_minor),
    )


def by_definition(row, rows):
    n = len(rows)
    return (
        1 + 5 * sum(other[0] > row[0] for other in rows) // n,
        1 + 5 * sum(other[1] < row[1] for other in rows) // n,
        1 + 5 * sum(other[2] < row[2] for other in rows) // n,
    )


@given(rows_of, st.tuples(st.integers(-2, 35), st.integers(0, 8), st.integers(-30, 70)))
@CALM
def test_cuts_give_the_scores_of_the_definition_also_to_people_outside_the_population(rows, outsider):
    cuts = compute_thresholds(rows, 1)
    for row in rows:
        assert by_cuts(row, cuts) == by_definition(row, rows)
    # Someone better than everybody would be scored 6 by the formula; there are five.
    assert by_cuts(outsider, cuts) == tuple(min(5, value) for value in by_definition(outsider, rows))


@given(rows_of)
@CALM
def test_the_top_is_at_most_a_tenth_except_for_the_perfect_score(rows):
    cuts = compute_thresholds(rows, 1)
    composites = [sum(by_cuts(row, cuts)) for row in rows]
    top = sum(value >= cuts.composite_top for value in composites)
    assert 10 * top <= len(rows) or cuts.composite_top == 15
    if cuts.composite_top < 15:
        assert 10 * sum(value >= cuts.composite_top - 1 for value in composites) > len(rows)
    assert 10 * sum(row[2] > cuts.monetary_top for row in rows) <= len(rows)
    assert 10 * sum(row[2] >= cuts.monetary_top for row in rows) > len(rows)


@given(rows_of, st.randoms(use_true_random=False))
@CALM
def test_the_order_of_the_population_does_not_matter(rows, rng):
    expected = compute_thresholds(rows, 1)
    rng.shuffle(rows)
    assert compute_thresholds(rows, 1) == expected
