"""RFM values, scores and the thresholds behind them."""

from datetime import datetime

import msgspec
import pytest

from services.profile.core.configuration import parse_config
from services.profile.core.population import compute_thresholds
from services.profile.core.rfm import score
from services.profile.core.state import Thresholds, decode_thresholds, encode
from services.profile.core.view import view
from tests.unit.profile.profile_builders import CONFIG, CUTS, NOW_MS, SHIPPED, event, part_of, purchase, refund, scored


def test_values_count_the_window_and_recency_counts_days():
    rfm = scored(purchase(365, 700), purchase(364, 500), purchase(12, 300), refund(10, 100))
    assert (rfm.recency_days, rfm.frequency, rfm.monetary_minor, rfm.currency) == (12, 2, 700, "CNY")


def test_an_order_known_to_two_parts_is_one_purchase_on_its_latest_day():
    parts = [part_of(purchase(365, order_id="A")), part_of(purchase(364, order_id="A"), purchase(3, order_id="B"))]
    assert view(parts, NOW_MS, CONFIG).frequency == 2


def test_without_purchase_there_is_no_recency_and_no_score():
    rfm = scored(event("Page Viewed"))
    assert (rfm.recency_days, rfm.frequency, rfm.monetary_minor) == (-1, 0, 0)
    assert (rfm.r, rfm.f, rfm.m, rfm.thresholds_version) == (0, 0, 0, 0)


def test_without_thresholds_scores_are_unknown_but_values_stand():
    rfm = scored(purchase(3, 900), thresholds=None)
    assert (rfm.recency_days, rfm.frequency, rfm.monetary_minor) == (3, 1, 900)
    assert (rfm.r, rfm.f, rfm.m, rfm.thresholds_version) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("days_ago", "r"), [(0, 5), (9, 5), (10, 4), (39, 4), (40, 3), (99, 3), (100, 2), (199, 2), (200, 1)]
)
def test_recency_at_a_cut_shares_the_lower_score(days_ago, r):
    assert scored(purchase(days_ago)).r == r


@pytest.mark.parametrize(
    ("amount_minor", "m"), [(1_000, 1), (1_001, 2), (5_000, 3), (5_001, 4), (9_000, 4), (9_001, 5)]
)
def test_spend_at_a_cut_shares_the_lower_score(amount_minor, m):
    assert scored(purchase(1, amount_minor)).m == m


def test_the_version_used_is_recorded():
    assert scored(purchase(1)).thresholds_version == CUTS.version


def test_a_purchase_ahead_of_the_clock_is_of_today():
    assert scored(purchase(-1)).recency_days == 0


def test_spend_in_several_currencies_is_told_in_the_main_one():
    assert scored(purchase(1, 900_000, currency="USD"), purchase(1, 100)).currency == "CNY"
    rfm = scored(purchase(1, 500, currency="USD"), purchase(2, 700, currency="EUR"))
    assert (rfm.currency, rfm.monetary_minor, rfm.frequency) == ("EUR", 700, 2)


def test_an_amount_without_currency_is_in_the_main_one():
    assert scored(purchase(1, 500, currency="")).currency == "CNY"


def test_thresholds_are_none_without_buyers():
    assert compute_thresholds([], 1) is None


def test_thresholds_of_equal_buyers_give_everybody_the_lowest_score():
    cuts = compute_thresholds([(10, 1, 100)] * 7, 3)
    assert cuts is not None
    one = score(view([part_of(purchase(10, 100))], NOW_MS, CONFIG), cuts, CONFIG)
    assert (one.r, one.f, one.m) == (1, 1, 1)


def test_thresholds_of_ten_different_buyers_put_two_in_each_fifth():
    rows = [(100 - 10 * i, i + 1, 100 * (i + 1)) for i in range(10)]
    cuts = compute_thresholds(rows, 4)
    spend = tuple(-(-k // 10) * 100 for k in range(1, 100))
    assert msgspec.structs.replace(cuts, composite_percentiles=()) == Thresholds(
        4, 10, (30, 50, 70, 90), (2, 4, 6, 8), (200, 400, 600, 800), 15, 900, spend, (100,) * 99
    )  # fmt: skip


def test_a_perfect_score_is_the_top_though_more_than_a_tenth_have_it():
    rows = [(50, 1, 100)] * 8 + [(1, 9, 900)] * 2
    cuts = compute_thresholds(rows, 1)
    assert cuts is not None
    assert cuts.composite_top == 15


def test_the_top_composite_is_reached_by_at_most_a_tenth():
    rows = [(200 - i, 1 + i * 7 % 20, i * 37 % 100) for i in range(100)]
    cuts = compute_thresholds(rows, 1)
    assert cuts is not None
    scores = []
    for days, orders, net in rows:
        r = 1 + sum(cut > days for cut in cuts.recency_days)
        scores.append(
            r + 2 + sum(cut < orders for cut in cuts.frequency) + sum(cut < net for cut in cuts.monetary_minor)
        )
    assert sum(s >= cuts.composite_top for s in scores) <= 10
    assert sum(s >= cuts.composite_top - 1 for s in scores) > 10 or cuts.composite_top == 3


def test_thresholds_survive_their_bytes():
    assert decode_thresholds(encode(CUTS)) == CUTS


def test_a_composite_that_exactly_a_tenth_reach_is_the_top():
    spend = [1, 2, 3, 4, 5, 6, 9, 10, 0, 8]
    cuts = compute_thresholds([(10 - i, i, spend[i]) for i in range(10)], 1)
    assert cuts is not None
    assert cuts.composite_top == 14


@pytest.mark.parametrize(
    ("zone", "bought", "now", "days"),
    [
        ("Europe/Berlin", "2026-03-28T23:59:59.999+01:00", "2026-03-29T00:00:00+01:00", 1),
        ("Europe/Berlin", "2026-03-29T00:00:00+01:00", "2026-03-29T23:59:59.999+02:00", 0),
        ("Europe/Berlin", "2026-03-28T12:00:00+01:00", "2026-03-30T00:00:00+02:00", 2),
        ("Europe/Berlin", "2026-10-25T00:00:00+02:00", "2026-10-25T23:59:59.999+01:00", 0),
        ("Europe/Berlin", "2026-10-24T23:59:59.999+02:00", "2026-10-26T00:00:00+01:00", 2),
        ("Asia/Shanghai", "2026-03-28T15:59:59.999Z", "2026-03-28T16:00:00Z", 1),
    ],
)
def test_recency_is_in_days_of_the_zone_also_where_clocks_change(zone, bought, now, days):
    def ms(text):
        return round(datetime.fromisoformat(text).timestamp() * 1_000)

    config = parse_config({"time_zone": zone}, SHIPPED)
    part = part_of(purchase(occurred_at=ms(bought)), config=config)
    assert score(view([part], ms(now), config), CUTS, config).recency_days == days
