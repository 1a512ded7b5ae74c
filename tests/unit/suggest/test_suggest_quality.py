"""What the README promises on a public set with known truth holds: febrl2, of which nothing was tuned."""

import pytest

from cli.suggest.features import features_of
from cli.suggest.model import Model
from tests.bench.suggest_quality import febrl, quality

# The README's figures, of which a change in the second digit is meant to be noticed: threshold → precision, recall.
FLOORS = {0.5: (0.992, 0.922), 0.8: (0.993, 0.895)}


def test_precision_and_recall_on_a_public_set_do_not_drop() -> None:
    records, true = febrl("2")
    assert (len(records), len(true)) == (5_000, 1_934)
    model = Model(features_of(record, traits) for record, traits in records)
    model.train()
    found = {(pair.first, pair.second): pair.probability for pair in model.scored(min(FLOORS))}
    model.close()
    for threshold, (least_precision, least_recall) in FLOORS.items():
        precision, recall, _ = quality({pair for pair, score in found.items() if score >= threshold}, true)
        assert precision >= least_precision, (threshold, precision)
        assert recall >= least_recall, (threshold, recall)


@pytest.mark.parametrize(
    ("shown", "true", "told"),
    [
        ({("a", "b")}, {("a", "b"), ("a", "c")}, (1.0, 0.5, 2 / 3)),
        ({("a", "b"), ("b", "c")}, {("a", "b")}, (0.5, 1.0, 2 / 3)),
        (set(), set(), (0.0, 0.0, 0.0)),
    ],
)
def test_quality_counts_what_is_right(
    shown: set[tuple[str, str]], true: set[tuple[str, str]], told: tuple[float, float, float]
) -> None:
    assert quality(shown, true) == pytest.approx(told)
