"""Cuts of a population: what percentiles mean, when new cuts are published, how far a sample may be off."""

from bisect import bisect_left, bisect_right
from random import Random

import msgspec
import pytest

from services.profile.core.population import (
    Population,
    compute_thresholds,
    is_still_right,
    percentiles,
    sampling_error,
    thresholds_of,
)
from services.profile.core.state import decode_thresholds, encode
from services.profile.thresholds import from_json, to_json


def some(count, seed=1):
    random = Random(seed)
    return [
        (random.randrange(400), min(9, int(random.expovariate(0.7)) + 1), int(random.lognormvariate(9, 1)))
        for _ in range(count)
    ]


def published_for(rows, version=1):
    cuts = compute_thresholds(rows, version)
    assert cuts is not None
    return cuts


def is_right_for(published, rows):
    population = Population(rows)
    exact = thresholds_of(population, published.version + 1)
    return is_still_right(published, exact, population)


def test_percentile_k_is_the_value_that_at_least_k_percent_do_not_exceed():
    assert percentiles(list(range(1, 101))) == tuple(range(1, 100))
    assert percentiles([7]) == (7,) * 99
    assert percentiles([]) == ()
    assert percentiles([1, 2, 3])[31:34] == (1, 1, 2)


def test_people_of_equal_spend_are_on_the_same_lower_side():
    cuts = percentiles([100] * 80 + [200] * 20)
    assert (cuts[79], cuts[80]) == (100, 200)
    # Of those who spent 100, nobody is strictly less; of those who spent 200, 80 % are.
    assert (sum(cut < 100 for cut in cuts), sum(cut < 200 for cut in cuts)) == (0, 80)


def test_percentiles_of_first_orders_are_of_those_who_bought_once():
    cuts = published_for([(1, 1, 100), (1, 1, 300), (1, 2, 900)])
    assert (cuts.first_order_percentiles[49], cuts.first_order_percentiles[50]) == (100, 300)
    assert cuts.spend_percentiles[98] == 900
    assert published_for([(1, 2, 900)]).first_order_percentiles == ()


def test_the_top_tenth_of_spend_is_the_ninetieth_percentile():
    cuts = published_for(some(997))
    assert cuts.monetary_top == cuts.spend_percentiles[89]


def test_thresholds_of_a_release_without_percentiles_stay_readable_and_are_replaced():
    rows = some(500)
    cuts = published_for(rows)
    older = msgspec.structs.replace(cuts, spend_percentiles=(), first_order_percentiles=(), composite_percentiles=())
    assert decode_thresholds(msgspec.msgpack.encode(msgspec.msgpack.decode(encode(older))[:7])) == older
    fields = msgspec.json.decode(to_json(older))
    del fields["spend_percentiles"], fields["first_order_percentiles"], fields["composite_percentiles"]
    assert from_json(msgspec.json.encode(fields).decode()) == older
    assert not is_right_for(older, rows)
    assert is_right_for(cuts, rows)


def test_percentiles_of_the_composite_are_watched_like_the_others():
    rows = some(2_000)
    cuts = published_for(rows)
    shifted = [cut + 1 if cut < 15 else cut for cut in cuts.composite_percentiles]
    assert is_right_for(cuts, rows)
    assert not is_right_for(msgspec.structs.replace(cuts, composite_percentiles=()), rows)
    assert not is_right_for(msgspec.structs.replace(cuts, composite_percentiles=tuple(shifted)), rows)


def test_in_a_small_population_any_other_cut_is_published():
    rows = some(150)
    assert not is_right_for(published_for(rows), [*rows, (0, 9, 10_000_000)])


def test_of_many_buyers_one_in_two_hundred_may_be_on_another_side_and_not_one_more():
    rows = [(days, orders + 1, rank * 100) for rank, (days, orders, _) in enumerate(some(4_000))]
    cuts = published_for(rows)

    def after(count):
        # The poorest are the richest now: each cut has as many more on its upper side.
        return [(days, orders, 1_000_000 + rank) for rank, (days, orders, _) in enumerate(rows[:count])] + rows[count:]

    assert is_right_for(cuts, after(4_000 // 200))
    assert not is_right_for(cuts, after(4_000 // 200 + 1))


def test_published_scores_differ_for_at_most_one_in_two_hundred_at_each_cut():
    rows = some(4_000)
    cuts, random = published_for(rows), Random(7)
    kept = replaced = 0
    for _ in range(120):
        for _ in range(4):
            rows[random.randrange(4_000)] = (0, random.randrange(1, 9), int(random.lognormvariate(9.5, 1)))
        population = Population(rows)
        exact = thresholds_of(population, cuts.version + 1)
        if not is_still_right(cuts, exact, population):
            cuts, replaced = exact, replaced + 1
            continue
        kept += 1
        for mine, theirs in (
            (cuts.monetary_minor, exact.monetary_minor),
            (cuts.spend_percentiles, exact.spend_percentiles),
        ):
            for one, other in zip(mine, theirs, strict=True):
                assert sum((row[2] > one) != (row[2] > other) for row in rows) <= 20
        for one, other in zip(cuts.recency_days, exact.recency_days, strict=True):
            assert sum((row[0] >= one) != (row[0] >= other) for row in rows) <= 20
        composites = sorted(composite_of(row, cuts) for row in rows)
        for k, cut in enumerate(cuts.composite_percentiles, 1):
            assert bisect_right(composites, cut) >= 40 * k - 20
            assert bisect_left(composites, cut) < 40 * k + 20
        shares = [composite_of(row, cuts) >= cuts.composite_top for row in rows]
        assert sum(shares) <= 4_000 * 0.105
    assert kept > replaced > 0


def composite_of(row, cuts):
    r = 1 + sum(cut > row[0] for cut in cuts.recency_days)
    return r + 2 + sum(cut < row[1] for cut in cuts.frequency) + sum(cut < row[2] for cut in cuts.monetary_minor)


def test_a_top_that_hovers_about_a_tenth_does_not_flap():
    # 1,000 buyers, some 10 % of whom have 14 or 15 while all others have 7 or less: the exact top hangs on one of them.
    def population(high):
        return [(1, 9, 10_000)] * 20 + [(1, 9, 700)] * high + [(300, 1, i) for i in range(980 - high)]

    tops = {published_for(population(high)).composite_top for high in (79, 80, 81, 82)}
    cuts = published_for(population(80))
    assert tops == {8, 15}
    assert all(is_right_for(cuts, population(high)) for high in (79, 80, 81, 82))
    assert not is_right_for(cuts, population(95))


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_is_as_near_as_the_bound_says(seed):
    random = Random(seed)
    everybody = sorted(int(random.lognormvariate(9, 1)) // 100 * 100 for _ in range(200_000))
    sample = sorted(random.sample(everybody, 20_000))
    bound = sampling_error(len(sample), len(everybody))
    assert 0.01 < bound < 0.014
    furthest = max(
        abs(bisect_right(sample, value) / len(sample) - bisect_right(everybody, value) / len(everybody))
        for value in set(everybody)
    )
    assert 0 < furthest <= bound


def test_nothing_is_approximate_when_everybody_was_looked_at():
    assert sampling_error(200_000, 200_000) == 0
    assert round(sampling_error(200_000, 1_000_000), 4) == 0.0044
