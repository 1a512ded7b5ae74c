"""The cuts behind scores: computed from the population of buyers, and when new ones are worth publishing."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from math import log, sqrt

from services.profile.core.state import Thresholds

TOP_COMPOSITE = 15
# Of a thousand computations from a sample, how many may be further off than `sampling_error` says.
_ERRORS_IN_A_THOUSAND = 1
# Published cuts stay while each puts at most 1 buyer in 200 on the wrong side. Lower: money moves a cut every few
# minutes, and each version has everybody looked at again. Higher: scores that a person notices to be old.
_TOLERATED = 200


class Population:
    """Buyers as rows (recency days, frequency, net spend minor); frequency ≥ 1. Sorts: some seconds for a million."""

    def __init__(self, rows: Iterable[tuple[int, int, int]]) -> None:
        self.rows = list(rows)
        self.recency = sorted([row[0] for row in self.rows])
        self.frequency = sorted([row[1] for row in self.rows])
        self.spend = sorted([row[2] for row in self.rows])
        self.first_orders = sorted([row[2] for row in self.rows if row[1] == 1])


def compute_thresholds(rows: Iterable[tuple[int, int, int]], version: int) -> Thresholds | None:
    """Exact thresholds of these buyers; None without buyers. See thresholds_of."""
    return thresholds_of(Population(rows), version)


def thresholds_of(population: Population, version: int) -> Thresholds | None:
    """Thresholds of a population; None when nobody is in it.

    The top is a tenth: at most a tenth spend more than `monetary_top`; `composite_top` is the smallest R+F+M that at
    most a tenth reach, except that the perfect score always counts, though up to a fifth may have it.
    """
    buyers = len(population.rows)
    if not buyers:
        return None
    # A value is better than at least k fifths exactly if it is better than the ceil(k × buyers / 5)-th worst value.
    places = [-(-k * buyers // 5) - 1 for k in (1, 2, 3, 4)]
    r_cuts = _four([population.recency[buyers - 1 - place] for place in reversed(places)])
    f_cuts = _four([population.frequency[place] for place in places])
    m_cuts = _four([population.spend[place] for place in places])
    reached = _reached(population, r_cuts, f_cuts, m_cuts)
    top = TOP_COMPOSITE
    while top > 3 and 10 * reached[top - 1] <= buyers:
        top -= 1
    spend = percentiles(population.spend)
    return Thresholds(
        version, buyers, r_cuts, f_cuts, m_cuts, top, spend[89], spend, percentiles(population.first_orders),
        _composite_percentiles(reached, buyers),
    )  # fmt: skip


def percentiles(values: list[int]) -> tuple[int, ...]:
    """99 cuts of ascending values as Thresholds has them; empty for no values."""
    return tuple([values[-(-k * len(values) // 100) - 1] for k in range(1, 100)]) if values else ()


def _composite_percentiles(reached: list[int], buyers: int) -> tuple[int, ...]:
    """The same cuts of R+F+M, from how many have at least each."""
    cuts = []
    composite = 3
    for k in range(1, 100):
        while buyers - (reached[composite + 1] if composite < TOP_COMPOSITE else 0) < -(-k * buyers // 100):
            composite += 1
        cuts.append(composite)
    return tuple(cuts)


def is_still_right(published: Thresholds, exact: Thresholds, population: Population) -> bool:
    """True when new thresholds would say nearly the same of everybody, so that the published ones stay in use.

    Of 200 buyers and more: each cut has at most 1 in 200 on another side than the exact one; the top composite is
    reached by at most 10.5 %, and by more than 9.5 % if it were one less; percentile k of R+F+M is one of somebody
    between k - 0.5 % and k + 0.5 %. Of fewer buyers: no cut differs at all.
    """
    buyers = len(population.rows)
    if len(published.spend_percentiles) != 99 or len(published.composite_percentiles) != 99:
        return False  # of a release without them
    if buyers < _TOLERATED:
        return _cuts(published) == _cuts(exact) and published.composite_top == exact.composite_top
    tolerated = buyers // _TOLERATED
    first_orders = population.first_orders
    return (
        _moved(population.recency, published.recency_days, exact.recency_days, bisect_left) <= tolerated
        and _moved(population.frequency, published.frequency, exact.frequency, bisect_right) <= tolerated
        and _moved(population.spend, published.monetary_minor, exact.monetary_minor, bisect_right) <= tolerated
        and _moved(population.spend, published.spend_percentiles, exact.spend_percentiles, bisect_right) <= tolerated
        and len(published.first_order_percentiles) == len(exact.first_order_percentiles)
        and _moved(first_orders, published.first_order_percentiles, exact.first_order_percentiles, bisect_right)
        <= max(1, len(first_orders) // _TOLERATED)
        and _is_composite_right(published, population, tolerated)
    )


def sampling_error(sample: int, population: int) -> float:
    """How far a share in the sample may be from the share in the population, for every value at once.

    0 when everybody was looked at; else the bound of Dvoretzky, Kiefer and Wolfowitz with Massart's constant
    (sqrt(ln(2/p) / 2n)), which one computation in a thousand may exceed: 0.0044 for 200,000.
    """
    return 0.0 if sample >= population else sqrt(log(2 * 1000 / _ERRORS_IN_A_THOUSAND) / (2 * sample))


def _moved(
    values: list[int], one: tuple[int, ...], other: tuple[int, ...], side: Callable[[list[int], int], int]
) -> int:
    """How many of the values at most lie between a cut and its counterpart."""
    return max([abs(side(values, a) - side(values, b)) for a, b in zip(one, other, strict=True)], default=0)


def _is_composite_right(published: Thresholds, population: Population, tolerated: int) -> bool:
    """R+F+M by the published cuts, which is what its percentiles and its top are compared with."""
    reached = _reached(population, published.recency_days, published.frequency, published.monetary_minor)
    top, buyers = published.composite_top, len(population.rows)
    if top != TOP_COMPOSITE and 10 * reached[top] > buyers + 10 * tolerated:
        return False
    if top != 3 and 10 * reached[top - 1] <= buyers - 10 * tolerated:
        return False
    reached.append(0)
    for k, cut in enumerate(published.composite_percentiles, 1):
        less, at_most = buyers - reached[cut], buyers - reached[cut + 1]
        if 100 * (at_most + tolerated) < k * buyers or 100 * (less - tolerated) >= k * buyers:
            return False
    return True


def _reached(
    population: Population, r_cuts: tuple[int, ...], f_cuts: tuple[int, ...], m_cuts: tuple[int, ...]
) -> list[int]:
    """How many buyers have at least each R+F+M."""
    reached = [0] * (TOP_COMPOSITE + 1)
    for days, orders, net in population.rows:
        reached[5 - bisect_right(r_cuts, days) + 2 + bisect_left(f_cuts, orders) + bisect_left(m_cuts, net)] += 1
    for composite in range(TOP_COMPOSITE, 0, -1):
        reached[composite - 1] += reached[composite]
    return reached


def _cuts(thresholds: Thresholds) -> tuple[tuple[int, ...], ...]:
    return (
        thresholds.recency_days, thresholds.frequency, thresholds.monetary_minor, thresholds.spend_percentiles,
        thresholds.first_order_percentiles, thresholds.composite_percentiles,
    )  # fmt: skip


def _four(cuts: list[int]) -> tuple[int, int, int, int]:
    a, b, c, d = cuts
    return a, b, c, d
