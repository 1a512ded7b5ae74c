"""A score in words: which comparisons speak for one person and which against it, and how much. Pure."""

from dataclasses import dataclass

from cli.suggest.comparisons import COMPARISONS

_BY_TITLE = {one.title: one for one in COMPARISONS}


@dataclass(frozen=True, slots=True)
class Reason:
    """bits: log2 of how much more often one person shows this than two do; negative speaks against it."""

    comparison: str
    words: str
    bits: float

    def __str__(self) -> str:
        return f"{self.comparison}: {self.words} ({self.bits:+.1f})"


def reasons_of(levels: dict[str, int], weights: dict[str, float], holders: dict[str, int]) -> list[Reason]:
    """What was compared, the heaviest first; what is not known of one of the two says nothing and is left out."""
    found = [
        Reason(title, _BY_TITLE[title].words(level) + _how_common(holders.get(title, 0)), weights[title])
        for title, level in levels.items()
        if level >= 0
    ]
    return sorted(found, key=lambda reason: (-abs(reason.bits), reason.comparison))


def unknown_of(levels: dict[str, int]) -> list[str]:
    """What could not be compared."""
    return [title for title, level in levels.items() if level < 0]


def _how_common(holders: int) -> str:
    if not holders:
        return ""
    return ", nobody else has it" if holders <= 2 else f", {holders} customers have it"
