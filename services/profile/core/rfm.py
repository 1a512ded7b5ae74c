"""RFM: recency, frequency and spend of one customer, scored against the population of buyers.

Recency is whole business days since the last purchase ever; frequency (distinct orders) and spend (purchases minus
refunds) count in the RFM window. Scores are quintiles: 1 + floor(5 × share of buyers strictly worse), so ties share
the lower score.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from services.profile.core.config import ProfileConfig
from services.profile.core.state import Rfm, Thresholds, View

# Later than every day number that occurs.
NEVER = 1 << 40
TOP_COMPOSITE = 15


def score(view: View, thresholds: Thresholds | None, config: ProfileConfig) -> Rfm:
    """Values and scores. Without thresholds, and for people who never bought, the scores are 0: unknown, not bad.

    `low_recency_day`: the day from which the R score is low enough for `potential` (NEVER: unknown). `next_day`: the
    next day on which time alone can change a value behind a score (NEVER: none).
    """
    purchase_day = view.purchase_day
    today = view.today
    next_day = _window_day(view, config.windows.rfm)
    if purchase_day is None:
        return Rfm(-1, 0, view.net_minor, view.currency, 0, 0, 0, 0, False, False, NEVER, next_day)
    recency = max(0, today - purchase_day)
    frequency, net = view.frequency, view.net_minor
    if thresholds is None:
        return Rfm(recency, frequency, net, view.currency, 0, 0, 0, 0, False, False, NEVER, next_day)
    cuts = thresholds.recency_days
    better = bisect_right(cuts, recency)
    if better < len(cuts):
        next_day = min(next_day, purchase_day + cuts[better])
    r = 5 - better
    f = 1 + bisect_left(thresholds.frequency, frequency)
    m = 1 + bisect_left(thresholds.monetary_minor, net)
    return Rfm(
        recency,
        frequency,
        net,
        view.currency,
        r,
        f,
        m,
        thresholds.version,
        r + f + m >= thresholds.composite_top,
        net > thresholds.monetary_top,
        purchase_day + cuts[4 - config.limits.potential_recency_score],
        next_day,
    )


def compute_thresholds(rows: Iterable[tuple[int, int, int]], version: int) -> Thresholds | None:
    """Thresholds of a population: one row (recency days, frequency, net spend minor) per buyer; None without buyers.

    A buyer is someone with frequency ≥ 1 in the window. Sorts the population: a few seconds for a million rows.

    The top is a tenth: at most a tenth spend more than `monetary_top`; `composite_top` is the smallest R+F+M that at
    most a tenth reach, except that the perfect score always counts, though up to a fifth may have it.
    """
    population = list(rows)
    if not population:
        return None
    buyers = len(population)
    recency = sorted((row[0] for row in population), reverse=True)
    frequency = sorted(row[1] for row in population)
    spend = sorted(row[2] for row in population)
    # A value is better than at least k fifths exactly if it is better than the ceil(k × buyers / 5)-th worst value.
    places = [-(-k * buyers // 5) - 1 for k in (1, 2, 3, 4)]
    r_cuts = [recency[place] for place in places][::-1]
    f_cuts = [frequency[place] for place in places]
    m_cuts = [spend[place] for place in places]
    reached = [0] * (TOP_COMPOSITE + 2)
    for days, orders, net in population:
        reached[5 - bisect_right(r_cuts, days) + 2 + bisect_left(f_cuts, orders) + bisect_left(m_cuts, net)] += 1
    top = TOP_COMPOSITE
    at_least = reached[top]
    while top > 3 and 10 * (at_least + reached[top - 1]) <= buyers:
        top -= 1
        at_least += reached[top]
    return Thresholds(
        version,
        buyers,
        _four(r_cuts),
        _four(f_cuts),
        _four(m_cuts),
        top,
        spend[-(-9 * buyers // 10) - 1],
    )


def _four(cuts: list[int]) -> tuple[int, int, int, int]:
    a, b, c, d = cuts
    return a, b, c, d


def _window_day(view: View, window: int) -> int:
    """The day on which the oldest order or money leaves the window; nothing leaves all time."""
    orders, money = view.oldest_order_day, view.oldest_money_day
    if orders is None:
        return NEVER if money is None else money + window
    return (orders if money is None else min(orders, money)) + window
