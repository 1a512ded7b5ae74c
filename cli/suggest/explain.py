"""A score in words: which comparisons speak for one person and which against it, and how much. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from cli.suggest.comparisons import COMPARISONS, Comparison

_BY_TITLE = {one.title: one for one in COMPARISONS}


@dataclass(frozen=True, slots=True)
class Reason:
    """bits: log2 of how much more often one person shows this than two do; negative speaks against it."""

    comparison: str
    words: str
    bits: float

    def __str__(self) -> str:
        return f"{self.comparison}: {self.words} ({self.bits:+.1f})"


def reasons_of(
    levels: dict[str, int], weights: dict[str, float], shares: dict[str, float], customers: int
) -> list[Reason]:
    """What was compared, the heaviest first; what is not known of one of the two says nothing and is left out."""
    found = [
        Reason(title, _BY_TITLE[title].words(level) + _how_common(shares.get(title), customers), weights[title])
        for title, level in levels.items()
        if level >= 0
    ]
    return sorted(found, key=lambda reason: (-abs(reason.bits), reason.comparison))


def unknown_of(levels: dict[str, int]) -> list[str]:
    """What could not be compared."""
    return [title for title, level in levels.items() if level < 0]


def _how_common(share: float | None, customers: int) -> str:
    if not share:
        return ""
    holders = round(share * customers)
    return ", nobody else has it" if holders <= 2 else f", {holders} customers have it"


def parameters(
    comparisons: Sequence[Comparison], m: dict[str, list[float]], u: dict[str, list[float]]
) -> list[tuple[str, str, float, float]]:
    """(comparison, level in words, m, u) of everything that was learned."""
    return [
        (one.title, words, m_level, u_level)
        for one in comparisons
        for words, m_level, u_level in zip(
            [*(level.words for level in one.levels), one.otherwise], m[one.title], u[one.title], strict=True
        )
    ]
