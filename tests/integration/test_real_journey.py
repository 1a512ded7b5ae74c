"""Complete Journey: groups made of what households bought say how they answer campaigns, which no group looked at."""

import pytest

from tests.bench.complete_journey import load

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def households():
    return list(load().values())


def answered(group):
    """Of the mailed, the share that redeemed a coupon."""
    mailed = [one for one in group if one.mailed]
    assert len(mailed) > 50
    return sum(1 for one in mailed if one.redeemed) / len(mailed)


def test_every_household_that_bought_has_a_profile_with_its_baskets(households):
    assert len(households) == 2_377
    assert sum(len(one.baskets) for one in households) == 47_243
    assert all(one.profile is not None and one.profile.frequency == len(one.baskets) for one in households)


def test_who_buys_with_coupons_answers_campaigns_far_more_often(households):
    sensitive = [one for one in households if "price_sensitive_10" in one.tags()]
    others = [one for one in households if not one.has_coupon()]
    assert answered(sensitive) > 3 * answered(others)


@pytest.mark.parametrize("score", ["r", "f", "m"])
def test_better_scores_answer_more_often(households, score):
    shares = [answered([one for one in households if getattr(one.profile, score) == value]) for value in range(1, 6)]
    assert shares == sorted(shares)
    assert shares[4] > 4 * shares[0]
