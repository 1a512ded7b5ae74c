"""Scores in words, and what a population teaches beside what is shipped."""

import pytest

from cli.suggest.comparisons import BIRTH, NAME
from cli.suggest.explain import Reason, reasons_of, unknown_of
from cli.suggest.learn import (
    MOST_MOVED,
    MOST_MOVED_AGAINST,
    SHIPPED_PAIRS,
    Learned,
    m_of,
    prior_bits,
    probability,
    settled,
    u_of,
)

LEVELS = {"name": 7, "birthday": 0, "phone": -1, "region": 3}
WEIGHTS = {"name": 9.4, "birthday": -5.1, "phone": 0.0, "region": 5.1}


def test_the_heaviest_reason_comes_first_and_what_is_not_known_says_nothing() -> None:
    found = reasons_of(LEVELS, WEIGHTS, {})
    assert [(one.comparison, one.words, one.bits) for one in found] == [
        ("name", "the same", 9.4),
        ("birthday", "different", -5.1),
        ("region", "the same city", 5.1),
    ]
    assert unknown_of(LEVELS) == ["phone"]


@pytest.mark.parametrize(
    ("holders", "words"), [(2, "the same, nobody else has it"), (30, "the same, 30 customers have it")]
)
def test_a_reason_tells_how_common_the_value_is(holders: int, words: str) -> None:
    (found,) = reasons_of({"name": 7}, {"name": 9.4}, {"name": holders})
    assert found.words == words


def test_a_reason_reads_with_its_weight() -> None:
    assert str(Reason("name", "the same", 9.42)) == "name: the same (+9.4)"
    assert str(Reason("birthday", "different", -5.0)) == "birthday: different (-5.0)"


def test_evidence_worth_the_odds_makes_it_even() -> None:
    assert probability(10, 1 / 1025) == pytest.approx(0.5)
    assert probability(-prior_bits(0.001) + 1, 0.001) == pytest.approx(2 / 3)


def test_without_a_run_m_stays_as_shipped() -> None:
    assert m_of(NAME, []) == pytest.approx(NAME.shipped_m, rel=0.001)


def test_a_run_counts_as_many_pairs_as_it_saw() -> None:
    taught = [0.80, 0.06, 0.06, 0.04, 0.02, 0.02]
    once, often = (m_of(BIRTH, [(pairs, {"birthday": taught})])[0] for pairs in (SHIPPED_PAIRS, 10_000))
    assert once == pytest.approx((0.80 + 0.86) / 2, abs=0.01)
    assert often == pytest.approx(0.80, abs=0.01)


def test_namesakes_cannot_teach_that_one_person_has_two_birthdays() -> None:
    namesakes = [0.0, 0.0, 0.0, 0.0, 0.6, 0.4]
    found = m_of(BIRTH, [(10_000, {"birthday": namesakes})])
    shipped = BIRTH.shipped_m
    assert found[4] / found[0] <= MOST_MOVED * MOST_MOVED_AGAINST * shipped[4] / shipped[0] * 1.001
    assert found[4] < 0.05


def test_a_run_of_one_comparison_keeps_the_shipped_share_of_the_different() -> None:
    pairs, m = settled(BIRTH, (1_000, {"birthday": [0.5, 0.1, 0.0, 0.0, 0.0, 0.4]}))
    assert m["birthday"][-1] == BIRTH.otherwise_m
    assert sum(m["birthday"]) == pytest.approx(1)
    assert m["birthday"][0] / m["birthday"][1] == pytest.approx(5)
    assert pairs == pytest.approx(1_000 * 0.6 / 0.98)


def test_u_is_what_strangers_show_without_the_pairs_of_one_person_among_them() -> None:
    seen = [0.001, 0.0, 0.001, 0.003, 0.6, 0.395]
    m = [0.9, 0.02, 0.02, 0.02, 0.01, 0.03]
    found = u_of(BIRTH, seen, 100_000_000, 0.0005, m)
    assert found[0] == pytest.approx(0.001 - 0.0005 * 0.9, rel=0.01)
    assert found[4] == pytest.approx(0.6, rel=0.01)


def test_two_customers_are_one_pair() -> None:
    assert Learned(customers=2).random_pairs == 1
