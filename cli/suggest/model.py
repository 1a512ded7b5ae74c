"""Scores of pairs by the model of Fellegi and Sunter, on splink and DuckDB. Learns without labels, repeatable.

u comes from random pairs; m from expectation maximisation over pairs that agree on something else; the prior from the
pairs that agree on a key: what their scores add up to is how many are one person.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from splink import DuckDBAPI, Linker, block_on

from cli.suggest.comparisons import COMPARISONS
from cli.suggest.features import Features
from cli.suggest.learn import Learned, Taught, m_of, prior_bits, probability, settled, u_of
from cli.suggest.settings import settings_of
from cli.suggest.table import Table

SEED = 20_260_101
# Random pairs for u. Lower: rare agreements (one pair in 100,000) are not seen. Higher: seconds per run.
RANDOM_PAIRS = 1_000_000
TRAINING_PAIRS = 1_000_000
# A comparison is asked when at least this share of the customers has the value.
LEAST_FILLED = 0.01
# Pairs that could reach a probability of 0.5 under no prior are dropped while scoring.
LEAST_BITS = 5.0
PRIOR_ROUNDS = 50
# No pair is certain; from here on a probability is told as 1, and so is asked for with 1.
SHOWN_AS_ONE = 0.99995
# Columns on which the pairs of an EM run agree, the best first → the comparison that such a run cannot teach.
TRAINING = {"birth": "birthday", "whole": "name", "email_local": "e_mail", "phone7": "phone"}
# Customers per step of the progress bar; each costs half a second by itself.
CHUNK_CUSTOMERS = 20_000

Progress = Callable[[str, float], None]


def _silent(what: str, share: float) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Scored:
    """A pair. bits: log2 of the odds, with the prior. By title of the comparison: its level, its weight in bits and,
    where the frequency of the agreed value counted, how many customers have that value (of two values the commoner).

    levels: 0 = otherwise, the first level has the highest number, -1 = not known.
    """

    first: str
    second: str
    probability: float
    bits: float
    levels: dict[str, int]
    weights: dict[str, float]
    holders: dict[str, int]


class Model:
    """A population and what it taught. Opens an in-memory DuckDB; close() ends it."""

    def __init__(self, population: Iterable[Features], progress: Progress = _silent) -> None:
        logging.getLogger("splink").setLevel(logging.ERROR)
        self._progress = progress
        self._table = Table(population)
        self.learned = Learned(self._table.customers)
        self.comparisons = tuple(one for one in COMPARISONS if self._table.filled(one.column) >= LEAST_FILLED)
        self._input = DuckDBAPI(self._table.connection).register("customers", dataset_display_name="customers_of_model")
        self._linker: Any = None

    def close(self) -> None:
        """Free the memory."""
        self._table.close()

    def candidates(self) -> int:
        """How many pairs agree on a key."""
        return self._table.candidates()

    def train(self) -> Learned:
        """Learn u, m and the prior; every pair that agrees on a key is scored on the way."""
        self.learned.prior = 1 / (self.learned.random_pairs + 2)
        self._table.connection.execute("create table pairs (bits double)")
        if not self.comparisons or not self._table.has_candidates():
            return self.learned
        self._progress("how often strangers agree", 0.0)
        linker = self._open(settings_of(self.comparisons, self.learned.customers))
        linker.training.estimate_u_using_random_sampling(RANDOM_PAIRS, SEED, min_count_per_level=None, num_chunks=1)
        parameters = linker.misc.save_model_to_json()
        seen = {
            one.title: [level.get("u_probability", 0.0) for level in written["comparison_levels"][1:]]
            for one, written in zip(self.comparisons, parameters["comparisons"], strict=True)
        }
        runs = []
        for number, column in enumerate(columns := self._training_columns()):
            self._progress("how often one person agrees", 0.2 + 0.3 * number / len(columns))
            runs.append(self._run(parameters, column))
        self._keep(parameters, seen, runs)
        self._linker = self._open(parameters)
        self._score_all()
        self._settle_prior()
        return self.learned

    def scored(self, least_probability: float) -> Iterator[Scored]:
        """Every pair that agrees on a key and has at least this probability, the surest first."""
        if self._linker is None:
            return
        asked = min(least_probability, SHOWN_AS_ONE)
        least = prior_bits(asked) - prior_bits(self.learned.prior) if asked > 0 else LEAST_BITS
        yield from self._pairs(
            f"select * from pairs where bits >= {least!r} order by bits desc, customer_id_l, customer_id_r"
        )

    def score(self, first: str, second: str) -> Scored:
        """One pair, whether it agrees on a key or not. Raises KeyError when one of them is no customer."""
        sides = [self._table.row(customer) for customer in sorted((first, second))]
        if self._linker is None:
            one, other = sorted((first, second))
            return Scored(one, other, self.learned.prior, prior_bits(self.learned.prior), {}, {}, {})
        found = self._linker.inference.score_pairs([sides[0]], [sides[1]])
        (pair,) = self._pairs(f"select *, {self._bits()} as bits from {found.physical_name}")
        return pair

    def _open(self, settings: Any) -> Any:
        return Linker(self._input, settings, log_level=None)

    def _training_columns(self) -> list[str]:
        """Agreeing on one of these teaches how the rest agrees; a comparison is not taught by its own columns."""
        filled = [column for column in TRAINING if self._table.filled(column) >= LEAST_FILLED]
        return filled[:2] if "birth" in filled else filled

    def _run(self, parameters: dict[str, Any], column: str) -> Taught:
        """EM over the pairs that agree on the column."""
        pairs = self._table.agreeing(column)
        if pairs < 1 or [one.title for one in self.comparisons] == [TRAINING[column]]:
            return 0.0, {}
        session = self._open(parameters).training.estimate_parameters_using_expectation_maximisation(
            block_on(column), estimate_without_term_frequencies=True, max_pairs=TRAINING_PAIRS
        )
        core = session.core_model_settings
        m = {
            one.output_column_name: [level.m_probability for level in one._comparison_levels_excluding_null]
            for one in core.comparisons
        }
        run = core.probability_two_random_records_match * min(pairs, TRAINING_PAIRS), m
        asked = [one for one in self.comparisons if one.title in m]
        return settled(asked[0], run) if len(asked) == 1 else run

    def _keep(self, parameters: dict[str, Any], seen: dict[str, list[float]], runs: list[Taught]) -> None:
        """Write u, m and a first prior into splink's parameters. At least one pair is expected: somebody looks."""
        learned = self.learned
        learned.prior = max([1.0, *(pairs for pairs, _ in runs)]) / (learned.random_pairs + 2)
        parameters["probability_two_random_records_match"] = learned.prior
        sampled = min(learned.random_pairs, RANDOM_PAIRS)
        for one, written in zip(self.comparisons, parameters["comparisons"], strict=True):
            m = learned.m[one.title] = m_of(one, runs)
            u = learned.u[one.title] = u_of(one, seen[one.title], sampled, learned.prior, m)
            for place, level in enumerate(written["comparison_levels"][1:]):
                level["m_probability"], level["u_probability"] = m[place], u[place]

    def _score_all(self) -> None:
        """Fill the table pairs."""
        first_bits = prior_bits(self.learned.prior)
        chunks = 1 + self.learned.customers // CHUNK_CUSTOMERS
        for number in range(1, chunks + 1):
            self._progress("pairs", 0.5 + 0.5 * (number - 1) / chunks)
            found = self._linker.inference.predict_chunk(
                (number, chunks), (1, 1), threshold_match_weight=LEAST_BITS + first_bits, warning_mode="never"
            )
            start = "create or replace table pairs as" if number == 1 else "insert into pairs"
            self._table.connection.execute(f"{start} select *, {self._bits()} as bits from {found.physical_name}")
            found.drop_table_from_database_and_remove_from_cache()

    def _settle_prior(self) -> None:
        """The prior under which the scores add up to the pairs it expects."""
        learned = self.learned
        for _ in range(PRIOR_ROUNDS):
            expected = self._table.number(
                f"select sum(1 / (1 + pow(2, -(bits + {prior_bits(learned.prior)!r})))) from pairs"
            )
            prior = max(1.0, expected or 0.0) / (learned.random_pairs + 2)
            is_settled = abs(prior - learned.prior) < 0.001 * prior
            learned.prior = prior
            if is_settled:
                break
        learned.pairs = self._table.number("select count(*) from pairs")

    def _bits(self) -> str:
        """SQL: what the comparisons of a pair weigh together."""
        weights = [f"mw_{one.title}" for one in self.comparisons]
        weights += [
            f"mw_tf_adj_{one.title}" for one in self.comparisons if any(level.frequency_of for level in one.levels)
        ]
        return " + ".join(weights)

    def _pairs(self, sql: str) -> Iterator[Scored]:
        for row in self._table.stream(sql):
            levels, weights, holders = {}, {}, {}
            for one in self.comparisons:
                level = levels[one.title] = int(row[f"gamma_{one.title}"])
                weights[one.title] = round(row[f"mw_{one.title}"] + row.get(f"mw_tf_adj_{one.title}", 0.0), 3)
                column = one.levels[-level].frequency_of if level > 0 else ""
                if column and row[f"tf_{column}_l"]:
                    share = max(row[f"tf_{column}_l"], row[f"tf_{column}_r"])
                    # splink's share is one of the customers who have any value there.
                    holders[one.title] = round(share * self._table.known(column))
            # Rounded: sums over several threads differ in the last digits.
            bits = row["bits"] + prior_bits(self.learned.prior)
            score = round(probability(row["bits"], self.learned.prior), 4)
            yield Scored(row["customer_id_l"], row["customer_id_r"], score, round(bits, 2), levels, weights, holders)
