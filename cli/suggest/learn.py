"""What a population teaches beside what is shipped: the two are added like so many pairs each. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cli.suggest.comparisons import Comparison

# How many pairs of one person the shipped m is worth. Lower: a few odd pairs teach. Higher: a population cannot.
SHIPPED_PAIRS = 100
# A population moves a shipped m by these factors at most. Namesakes and families are groups that EM finds as well, and
# they would teach that one person has two birthdays. Lower: odd sources are misread. Higher: so are families.
MOST_MOVED, MOST_MOVED_AGAINST = 4.0, 2.0
# How many random pairs the shipped u is worth; what 150 customers say weighs as much.
SHIPPED_RANDOM_PAIRS = 10_000
# No agreement is rarer than this, however seldom it was seen.
LEAST_U = 1e-7

# Of one EM run: how many pairs of one person it saw, and m by title of the comparison.
Taught = tuple[float, Mapping[str, Sequence[float]]]


@dataclass(slots=True)
class Learned:
    """The parameters, for the report and the README's formula. Lists go from the first level to `otherwise`.

    prior: probability that two customers drawn at random are one person.
    """

    customers: int = 0
    pairs: int = 0
    prior: float = 0.0
    m: dict[str, list[float]] = field(default_factory=dict)
    u: dict[str, list[float]] = field(default_factory=dict)

    @property
    def random_pairs(self) -> float:
        """How many pairs the population has."""
        return self.customers * (self.customers - 1) / 2


def m_of(comparison: Comparison, runs: Sequence[Taught]) -> list[float]:
    """m of each level: the runs that looked at this comparison, weighted by their pairs, and the shipped values."""
    taught = [(pairs, m[comparison.title]) for pairs, m in runs if comparison.title in m]
    whole = SHIPPED_PAIRS + sum(pairs for pairs, _ in taught)
    moved = []
    for place, (shipped, strangers) in enumerate(zip(comparison.shipped_m, comparison.shipped_u, strict=True)):
        mean = (SHIPPED_PAIRS * shipped + sum(pairs * values[place] for pairs, values in taught)) / whole
        most = MOST_MOVED if shipped > strangers else MOST_MOVED_AGAINST
        moved.append(min(max(mean, shipped / MOST_MOVED), shipped * most))
    return [one / sum(moved) for one in moved]


def settled(comparison: Comparison, run: Taught) -> Taught:
    """A run that looked at this comparison alone, mended.

    With one comparison EM cannot tell "one person, but different" from "strangers": any prior explains the pairs that
    differ. So the shipped share of these stays, and the levels that agree keep their proportions.
    """
    pairs, m = run
    *agreeing, otherwise = m[comparison.title]
    share = (1 - comparison.otherwise_m) / (1 - otherwise)
    return pairs / share, {comparison.title: [*(value * share for value in agreeing), comparison.otherwise_m]}


def u_of(comparison: Comparison, seen: Sequence[float], pairs: float, prior: float, m: Sequence[float]) -> list[float]:
    """u of each level from its share `seen` among random pairs, of which `prior` are one person and behave like m."""
    strangers = [max(share / 10, (share - prior * one) / (1 - prior)) for share, one in zip(seen, m, strict=True)]
    whole = pairs + SHIPPED_RANDOM_PAIRS
    return [
        max(LEAST_U, (pairs * share + SHIPPED_RANDOM_PAIRS * shipped) / whole)
        for share, shipped in zip(strangers, comparison.shipped_u, strict=True)
    ]


def probability(bits: float, prior: float) -> float:
    """Probability that a pair is one person whose comparisons weigh so many bits."""
    return 1 / (1 + math.exp2(-(bits + prior_bits(prior))))


def prior_bits(prior: float) -> float:
    """log2 of the odds before anything was compared."""
    return math.log2(prior / (1 - prior))
