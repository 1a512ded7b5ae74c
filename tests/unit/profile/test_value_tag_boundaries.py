"""Where each value tag begins and ends, against the cuts of a real population: the tenth, ties, and hysteresis."""

import pytest
from msgspec.structs import replace

from services.profile.core.population import Population, thresholds_of
from tests.unit.profile.profile_builders import concluded, event, purchase, refund, tags_of

TICKET = "Service Ticket Opened"


def cuts_of(rows):
    """The thresholds of buyers (recency days, frequency, net spend minor)."""
    return thresholds_of(Population(rows), 7)


# 100 buyers of 1.00, 2.00 … 100.00, each once, so that spend of k.01 is above k % of them.
HUNDRED = cuts_of((50, 1, k * 100) for k in range(1, 101))


def holds(name, *events, thresholds=HUNDRED, held_by=None):
    """Whether the tag holds; `held_by`: events after which it held before."""
    before = ()
    if held_by is not None:
        first, _ = concluded(*held_by, thresholds=thresholds)
        assert name in first.tags
        before = (first,)
    return name in concluded(*events, thresholds=thresholds, before=before)[0].tags


def tickets(count):
    return [event(TICKET) for _ in range(count)]


def buyer(row):
    """Events that make this row of the population."""
    recency_days, orders, minor = row
    return [purchase(recency_days, minor - (orders - 1) * 100), *[purchase(recency_days, 100)] * (orders - 1)]


@pytest.mark.parametrize(("best", "high_value"), [(9, 9), (10, 10), (11, 0)])
def test_high_value_is_at_most_a_tenth_of_the_buyers_and_all_or_none_of_a_tie(best, high_value):
    rows = [(0 if k >= 100 - best else 50, 1, k + 1) for k in range(100)]
    cuts = cuts_of(rows)
    found = [row for row in rows if "high_value" in tags_of(*buyer(row), thresholds=cuts)]
    assert found == rows[100 - high_value :]


def test_the_perfect_score_is_high_value_though_a_fifth_have_it():
    rows = [(0, 9, 100_000)] * 20 + [(50, 1, 100)] * 80
    cuts = cuts_of(rows)
    assert "high_value" in tags_of(*[purchase(0, 20_000) for _ in range(9)], thresholds=cuts)
    assert "high_value" not in tags_of(purchase(50, 100), thresholds=cuts)


@pytest.mark.parametrize(
    ("cut", "entered", "kept"), [(84, False, False), (85, False, True), (89, False, True), (90, True, True)]
)
def test_high_value_between_85_and_90_is_kept_and_not_entered(cut, entered, kept):
    """A customer with R+F+M of 5 where exactly `cut` of 99 cuts are below that."""
    cuts = replace(HUNDRED, composite_percentiles=(3,) * cut + (11,) * (99 - cut))
    held = replace(cuts, composite_percentiles=(3,) * 99)
    one = purchase(60, 5_000)
    assert ("high_value" in concluded(one, thresholds=cuts)[0].tags) is entered
    before, _ = concluded(one, thresholds=held)
    assert ("high_value" in concluded(one, thresholds=cuts, before=(before,))[0].tags) is kept


@pytest.mark.parametrize(("minor", "entered", "kept"), [
    (8_500, False, False), (8_501, False, True), (9_000, False, True), (9_001, True, True),
])  # fmt: skip
def test_vip_begins_above_the_90th_percentile_of_spend_and_ends_below_the_85th(minor, entered, kept):
    top = purchase(1, 9_001, order_id="A")
    assert holds("vip", purchase(1, minor), *tickets(6)) is entered
    assert holds("vip", top, refund(0, 9_001 - minor, order_id="A"), *tickets(6), held_by=[top, *tickets(6)]) is kept


@pytest.mark.parametrize(("count", "is_vip"), [(5, False), (6, True)])
def test_vip_needs_more_than_five_service_or_social_interactions_and_keeping_it_does_too(count, is_vip):
    top = purchase(1, 9_001)
    assert holds("vip", top, *tickets(count)) is is_vip
    assert holds("vip", top, *tickets(count), held_by=[top, *tickets(6)]) is is_vip


def test_of_a_tie_across_the_tenth_of_spend_nobody_is_vip_and_of_one_inside_it_all():
    across = cuts_of([(50, 1, k) for k in range(1, 90)] + [(50, 1, 9_999)] * 11)
    inside = cuts_of([(50, 1, k) for k in range(1, 91)] + [(50, 1, 9_999)] * 10)
    assert not holds("vip", purchase(1, 9_999), *tickets(6), thresholds=across)
    assert holds("vip", purchase(1, 10_000), *tickets(6), thresholds=across)
    assert holds("vip", purchase(1, 9_999), *tickets(6), thresholds=inside)


@pytest.mark.parametrize(("minor", "entered", "kept"), [
    (3_700, False, False), (3_701, False, True), (4_000, False, True), (4_001, True, True), (9_000, True, True),
    (9_001, False, False),
])  # fmt: skip
def test_high_potential_lies_between_the_40th_and_90th_percentile_and_stays_down_to_the_37th(minor, entered, kept):
    # The purchase is an interaction as well.
    middle = [purchase(1, 5_000), *tickets(5)]
    assert holds("high_potential", purchase(1, minor), *tickets(5)) is entered
    assert holds("high_potential", purchase(1, minor), *tickets(5), held_by=middle) is kept


@pytest.mark.parametrize(("interactions", "is_tag"), [(5, False), (6, True), (7, True)])
def test_high_potential_needs_more_than_five_interactions_of_any_kind_in_ninety_days(interactions, is_tag):
    one, middle = purchase(1, 5_000), [purchase(1, 5_000), *[event() for _ in range(5)]]
    pages = [event(days_ago=89) for _ in range(interactions - 1)]
    assert holds("high_potential", one, *pages, event(days_ago=90), event("Message Sent")) is is_tag
    assert holds("high_potential", one, *pages, held_by=middle) is is_tag


@pytest.mark.parametrize(("minor", "is_tag"), [(9_999_999, False), (10_000_000, False), (10_000_001, True)])
@pytest.mark.parametrize("days_ago", [0, 364])
def test_big_spender_needs_more_than_100_000_major_units_in_365_days(minor, is_tag, days_ago):
    orders = [purchase(days_ago, 1), purchase(days_ago, 1), purchase(days_ago, minor - 2)]
    assert ("big_spender" in tags_of(*orders)) is is_tag


def test_big_spender_is_net_of_refunds_and_forgets_after_365_days():
    orders = [purchase(1, 1), purchase(1, 1), purchase(1, 10_000_000, order_id="A")]
    assert "big_spender" in tags_of(*orders)
    assert "big_spender" not in tags_of(*orders, refund(0, 2, order_id="A"))
    assert "big_spender" not in tags_of(*orders[:2], purchase(365, 10_000_000))


@pytest.mark.parametrize(("orders", "is_tag"), [(1, False), (2, False), (3, True), (5, True)])
def test_big_spender_needs_a_repurchase_share_above_sixty_per_cent(orders, is_tag):
    """1 of 2 orders is half; 2 of 3 are two thirds. No number of orders makes exactly 60 %."""
    assert ("big_spender" in tags_of(*[purchase(i, 10_000_001) for i in range(orders)])) is is_tag


@pytest.mark.parametrize(("minor", "entered", "kept"), [
    (7_700, False, False), (7_701, False, True), (8_000, False, True), (8_001, True, True),
])  # fmt: skip
def test_promising_first_lies_above_the_80th_percentile_of_only_orders_and_stays_down_to_the_77th(minor, entered, kept):
    top = purchase(200, 9_000, order_id="A")
    assert holds("promising_first", purchase(200, minor)) is entered
    assert holds("promising_first", top, refund(0, 9_000 - minor, order_id="A"), held_by=[top]) is kept


def test_promising_first_ends_with_the_second_purchase_and_compares_with_only_orders_alone():
    top = purchase(10, 9_000)
    assert not holds("promising_first", top, purchase(0, 1), held_by=[top])
    # Nine buyers with two orders each spend more; they are not among the only orders.
    cuts = cuts_of([(50, 1, k) for k in range(1, 11)] + [(50, 2, 100_000)] * 9)
    assert holds("promising_first", purchase(10, 9), thresholds=cuts)
    assert not holds("promising_first", purchase(10, 8), thresholds=cuts)
    assert not holds("promising_first", top, thresholds=cuts_of([(50, 2, 100)] * 9))


@pytest.mark.parametrize(
    ("days_ago", "is_tag"), [(39, False), (40, False), (99, False), (100, True), (200, True), (364, True), (365, False)]
)
def test_potential_needs_recency_of_two_or_less(days_ago, is_tag):
    """CUTS has R 3 from day 40, R 2 from day 100, R 1 from day 200; after 365 days the spend is gone, and M with it."""
    assert ("potential" in tags_of(purchase(days_ago, 5_001))) is is_tag


@pytest.mark.parametrize(
    ("orders", "minor", "is_tag"), [(3, 10, False), (4, 10, True), (1, 5_000, False), (1, 5_001, True)]
)
def test_potential_needs_frequency_or_spend_of_four(orders, minor, is_tag):
    assert ("potential" in tags_of(*[purchase(120, minor) for _ in range(orders)])) is is_tag
