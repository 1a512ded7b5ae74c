"""The model as a whole on small populations: repeatable, silent about nobody, honest about single pairs."""

from collections.abc import Iterator
from typing import Any

import pytest

from cli.suggest.blocking import MAX_BLOCK
from cli.suggest.features import Features, features_of, without_placeholders
from cli.suggest.learn import prior_bits
from cli.suggest.model import Model
from cli.suggest.table import PIECE_ROWS, Table
from tests.bench.suggest_people import People, people


@pytest.fixture(scope="module")
def invented() -> People:
    return people(1_500, seed=3)


def rows(found: People) -> list[Features]:
    return [features_of(customer, traits) for customer, traits in found.customers]


@pytest.fixture(scope="module")
def model(invented: People) -> Iterator[Model]:
    trained = Model(rows(invented))
    trained.train()
    yield trained
    trained.close()


def test_most_of_what_is_suggested_is_true(model: Model, invented: People) -> None:
    found = {(pair.first, pair.second) for pair in model.scored(0.8)}
    assert len(found & invented.true) >= 0.9 * len(found)
    assert len(found & invented.true) >= 0.25 * len(invented.true)
    assert not found & invented.relatives


def test_the_same_population_gives_the_same_scores(model: Model, invented: People) -> None:
    again = Model(rows(invented))
    again.train()
    assert list(again.scored(0.1)) == list(model.scored(0.1))
    again.close()


def test_the_surest_come_first_and_none_below_the_asked_score(model: Model) -> None:
    found = [pair.probability for pair in model.scored(0.3)]
    assert found == sorted(found, reverse=True)
    assert found[-1] >= 0.3


def test_a_score_of_one_asks_for_those_that_are_shown_as_one(model: Model) -> None:
    sure = [pair.probability for pair in model.scored(0.5)].count(1.0)
    assert sure > 0
    assert [pair.probability for pair in model.scored(1.0)] == [1.0] * sure


class Counting:
    """A connection, or its cursor, that counts the rows fetched from it."""

    def __init__(self, inner: Any, fetched: list[int]) -> None:
        self._inner, self._fetched = inner, fetched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def cursor(self) -> "Counting":
        return Counting(self._inner.cursor(), self._fetched)

    def execute(self, *arguments: Any) -> "Counting":
        return Counting(self._inner.execute(*arguments), self._fetched)

    def fetchmany(self, size: int) -> Any:
        return self._counted(self._inner.fetchmany(size))

    def fetchall(self) -> Any:
        return self._counted(self._inner.fetchall())

    def _counted(self, rows: list[Any]) -> list[Any]:
        self._fetched.append(len(rows))
        return rows


def test_rows_come_in_pieces_and_the_table_may_be_asked_between_them() -> None:
    fetched: list[int] = []
    table = Table([features_of("c1", {"name": "Anna Ott"})])
    table.connection = Counting(table.connection, fetched)  # type: ignore[assignment]
    walked = table.stream(f"select * from range({2 * PIECE_ROWS + 1}) as numbers(n) order by n")
    assert next(walked) == {"n": 0}
    assert fetched == [PIECE_ROWS]
    assert table.known("customer_id") == 1
    assert [row["n"] for row in walked] == list(range(1, 2 * PIECE_ROWS + 1))
    table.close()


def test_a_single_pair_has_the_score_it_has_in_the_list(model: Model) -> None:
    for pair in list(model.scored(0.8))[:3]:
        assert model.score(pair.second, pair.first) == pair


def test_a_pair_that_agrees_on_no_key_can_be_scored(model: Model, invented: People) -> None:
    strangers = model.score(invented.customers[0][0], invented.customers[-1][0])
    assert strangers.probability < 0.01


def test_weights_and_prior_add_up_to_the_score(model: Model) -> None:
    pair = next(model.scored(0.8))
    assert sum(pair.weights.values()) + prior_bits(model.learned.prior) == pytest.approx(pair.bits, abs=0.02)


def test_how_many_have_a_value_is_counted_among_all_customers(model: Model, invented: People) -> None:
    birthdays = [traits.get("birthday") for _, traits in invented.customers]
    by_id = dict(invented.customers)
    agreed = [pair for pair in model.scored(0.5) if "birthday" in pair.holders]
    assert agreed
    for pair in agreed:
        assert pair.holders["birthday"] == birthdays.count(by_id[pair.first]["birthday"])


def test_who_is_no_customer_has_no_score(model: Model) -> None:
    with pytest.raises(KeyError):
        model.score("c0000001", "nobody")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_handful_of_customers_is_no_trouble(count: int) -> None:
    names = ["Anna Ott", "王芳"][:count]
    model = Model(features_of(f"c{number}", {"name": name}) for number, name in enumerate(names))
    model.train()
    assert list(model.scored(0.5)) == []
    model.close()


def test_customers_without_traits_are_compared_with_nobody() -> None:
    model = Model(features_of(f"c{number}", {}) for number in range(10))
    model.train()
    assert list(model.scored(0.01)) == []
    model.close()


def test_a_value_that_many_share_makes_no_pairs() -> None:
    """An office's phone: the pairs would grow with the square of the customers."""
    many = [features_of(f"c{number}", {"phone": "+8675512345678"}) for number in range(MAX_BLOCK + 1)]
    model, smaller = Model(many), Model(many[:MAX_BLOCK])
    assert (model.candidates(), smaller.candidates()) == (0, MAX_BLOCK * (MAX_BLOCK - 1) // 2)
    model.close()
    smaller.close()


def test_a_placeholder_name_says_nothing_and_hides_nobody() -> None:
    """Three hundred mini-program visitors called 微信用户 do not make it chance that two others share a name."""
    alike = {"name": "上官婉儿", "birthday": "1964-02-29"}
    two = [features_of(f"a{number}", alike) for number in range(2)]
    nameless = [features_of(f"c{number}", {"name": "微信用户", "birthday": "1990-01-01"}) for number in range(300)]
    others = [
        features_of(f"d{n}", {"name": f"王{chr(0x4E00 + n)}", "birthday": f"19{50 + n}-03-04"}) for n in range(40)
    ]
    model = Model(two + nameless + others)
    model.train()
    assert [(pair.first, pair.second) for pair in model.scored(0.5)] == [("a0", "a1")]
    assert model.score("c0", "c1").weights == {"name": 0.0, "birthday": 0.0}
    model.close()


def test_a_name_becomes_a_placeholder_beyond_a_hundredth_of_the_customers() -> None:
    def known(holders: int, customers: int) -> bool:
        rows = [features_of(f"a{n}", {"name": "张伟"}) for n in range(holders)]
        rows += [features_of(f"b{n}", {}) for n in range(customers - holders)]
        return without_placeholders(rows)[0].whole is not None

    assert [known(20, 100), known(21, 100)] == [True, False]
    assert [known(30, 3_000), known(31, 3_000)] == [True, False]
