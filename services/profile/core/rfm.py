"""RFM: recency, frequency and spend of one customer, scored against the population of buyers.

Recency is whole business days since the last purchase ever; frequency (distinct orders) and spend (purchases minus
refunds) count in the RFM window. Scores are quintiles: 1 + floor(5 × share of buyers strictly worse), so ties share
the lower score.
"""

from bisect import bisect_left, bisect_right

from services.profile.core.config import ProfileConfig
from services.profile.core.state import Rfm, Thresholds, View

# Later than every day number that occurs.
NEVER = 1 << 40


def score(view: View, thresholds: Thresholds | None, config: ProfileConfig) -> Rfm:
    """Values and scores. Without thresholds, and for people who never bought, the scores are 0: unknown, not bad.

    `next_day`: the next day on which time alone can change a value behind a score (NEVER: none).
    """
    purchase_day = view.purchase_day
    today = view.today
    next_day = _window_day(view, config.windows.rfm)
    if purchase_day is None:
        return Rfm(-1, 0, view.net_minor, view.currency, 0, 0, 0, 0, next_day)
    recency = max(0, today - purchase_day)
    frequency, net = view.frequency, view.net_minor
    if thresholds is None:
        return Rfm(recency, frequency, net, view.currency, 0, 0, 0, 0, next_day)
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
        next_day,
    )


def _window_day(view: View, window: int) -> int:
    """The day on which the oldest order or money leaves the window; nothing leaves all time."""
    orders, money = view.oldest_order_day, view.oldest_money_day
    if orders is None:
        return NEVER if money is None else money + window
    return (orders if money is None else min(orders, money)) + window
