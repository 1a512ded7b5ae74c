"""The comparisons as splink's settings."""

from collections.abc import Sequence
from typing import Any

from splink import SettingsCreator, block_on
from splink import comparison_level_library as levels
from splink import comparison_library as comparisons
from splink.internals.comparison_creator import ComparisonCreator
from splink.internals.comparison_level_creator import ComparisonLevelCreator

from cli.suggest.blocking import KEYS
from cli.suggest.comparisons import Comparison

# Customers at which the frequency of a single value counts half: below, "two of sixty" says little about a name.
FREQUENCY_CUSTOMERS = 2_000


def settings_of(asked: Sequence[Comparison], customers: int) -> SettingsCreator:
    """Settings of a model that looks for duplicates within one table of so many customers."""
    weight = customers / (customers + FREQUENCY_CUSTOMERS)
    return SettingsCreator(
        link_type="dedupe_only",
        comparisons=[_comparison(one, weight) for one in asked],
        blocking_rules_to_generate_predictions=[block_on(key) for key in KEYS],
        unique_id_column_name="customer_id",
        retain_matching_columns=True,
        retain_intermediate_calculation_columns=True,
    )


def _comparison(one: Comparison, frequency_weight: float) -> ComparisonCreator:
    made: list[ComparisonLevelCreator | dict[str, Any]] = [
        levels.CustomLevel(one.unknown, "not known").configure(is_null_level=True)
    ]
    for level in one.levels:
        custom = levels.CustomLevel(level.sql, level.words).configure(m_probability=level.m)
        if level.frequency_of:
            custom = custom.configure(
                tf_adjustment_column=level.frequency_of,
                tf_adjustment_weight=frequency_weight,
                disable_tf_exact_match_detection=True,
            )
        made.append(custom)
    made.append(levels.ElseLevel().configure(m_probability=one.otherwise_m))
    return comparisons.CustomComparison(made, one.title)
