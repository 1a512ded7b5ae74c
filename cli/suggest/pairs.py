"""From a population to suggestions: trained, scored, without those that must not be suggested."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.suggest.explain import Reason, reasons_of, unknown_of
from cli.suggest.population import Population

if TYPE_CHECKING:
    from cli.suggest.model import Model, Scored
    from cli.suggest.population import MakeRow

INSTALL = "uv sync --all-packages --extra suggest"


class MissingLibrariesError(Exception):
    """The optional libraries are not installed; the text says how to install them."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Two customers who are probably one person. weight: log2 of the odds."""

    customers: tuple[str, str]
    identifiers: tuple[list[str], list[str]]
    score: float
    weight: float
    reasons: list[Reason]
    unknown: list[str]

    def as_json(self) -> dict[str, Any]:
        """One line of --json."""
        return {
            "customers": [
                {"customer_id": customer, "identifiers": identifiers}
                for customer, identifiers in zip(self.customers, self.identifiers, strict=True)
            ],
            "score": self.score,
            "weight": self.weight,
            "reasons": [{"comparison": one.comparison, "says": one.words, "weight": one.bits} for one in self.reasons],
            "not_known": self.unknown,
        }


def libraries() -> "tuple[MakeRow, type[Model]]":
    """What makes rows and what scores them. Raises MissingLibrariesError."""
    try:
        from cli.suggest.features import features_of
        from cli.suggest.model import Model
    except ModuleNotFoundError as error:
        raise MissingLibrariesError(
            f"suggestions need libraries that are not installed ({error.name}). Install them: {INSTALL}"
        ) from error
    return features_of, Model


def suggestions(population: Population, model: "Model", least_score: float) -> Iterator[Suggestion]:
    """The pairs of at least this score, the surest first."""
    for pair in model.scored(least_score):
        if not population.why_not(pair.first, pair.second):
            yield suggestion(population, pair)


def suggestion(population: Population, pair: "Scored") -> Suggestion:
    """A scored pair with its reasons."""
    return Suggestion(
        (pair.first, pair.second),
        (population.shown[pair.first], population.shown[pair.second]),
        pair.probability,
        pair.bits,
        reasons_of(pair.levels, pair.weights, pair.holders),
        unknown_of(pair.levels),
    )
