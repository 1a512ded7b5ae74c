"""On which level a pair stands, decided by DuckDB with the very conditions the model has."""

from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

import duckdb
import pytest

from cli.suggest.comparisons import BIRTH, COMPARISONS, EMAIL, NAME, PHONE, REGION, Comparison
from cli.suggest.features import COLUMNS, features_of
from cli.suggest.learn import LEAST_U

UNKNOWN = "not known"


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as opened:
        yield opened


class Pair:
    """Levels of pairs in words, whichever of the two comes first."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def level(self, comparison: Comparison, left: dict[str, Any], right: dict[str, Any]) -> str:
        found, turned = self._level(comparison, left, right), self._level(comparison, right, left)
        assert found == turned
        return found

    def _level(self, comparison: Comparison, left: dict[str, Any], right: dict[str, Any]) -> str:
        values = [*astuple(features_of("l", left)), *astuple(features_of("r", right))]
        names = [f"{name}_l" for name in COLUMNS] + [f"{name}_r" for name in COLUMNS]
        typed = ", ".join(f"?::{'boolean' if 'is_han' in name else 'varchar'} as {name}" for name in names)
        cases = " ".join(f"when {level.sql} then '{level.words}'" for level in comparison.levels)
        sql = (
            f"select case when {comparison.unknown} then '{UNKNOWN}' {cases} else 'different' end from (select {typed})"
        )
        return str(self._connection.execute(sql, values).fetchall()[0][0])


@pytest.fixture
def pair(connection: duckdb.DuckDBPyConnection) -> Pair:
    return Pair(connection)


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ("Anna Schmidt", "anna  SCHMIDT", "the same"),
        ("Anna Schmidt", "Schmidt Anna", "the same in another order, script or with the same sound"),
        ("李小明", "Xiaoming Li", "the same in another order, script or with the same sound"),
        ("李小明", "李晓明", "the same in another order, script or with the same sound"),
        ("Anna Schmidt", "Anna Schmitt", "one part the same, the other nearly"),
        ("A. Schmidt", "Anna Schmidt", "one part the same, the other nearly"),
        ("张小明", "臧小明", "one part the same, the other nearly"),
        ("Jonathan Schmidt", "Jonathon Schmitt", "nearly the same"),
        ("Anna", "Anna Schmidt", "one part the same, the other not known"),
        ("张**", "张伟", "one part the same, the other not known"),
        ("Anna Schmidt", "Anna Kowalski", "given name the same, family name different"),
        ("Anna Schmidt", "Peter Schmidt", "family name the same, given name different"),
        ("李建国", "李建军", "family name the same, given name different"),
        ("李伟", "王芳", "different"),
        ("", "王芳", UNKNOWN),
    ],
)
def test_names(pair: Pair, left: str, right: str, words: str) -> None:
    assert pair.level(NAME, {"name": left}, {"name": right}) == words


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ("1985-03-02", "1985/3/2", "the same"),
        ("1985-03-02", "1985-02-03", "day and month exchanged"),
        ("1985-03-02", "1986-03-02", "one digit off"),
        ("1985-03-21", "1985-03-12", "one digit off"),
        ("1985-03-02", "1985-03-29", "two of year, month and day the same"),
        ("1985-03-02", "1969-03-02", "two of year, month and day the same"),
        ("1955-01-20", "1986-09-03", "12 years apart or more"),
        ("1985-03-02", "1986-04-12", "different"),
        ("1985-03-02", "", UNKNOWN),
    ],
)
def test_birthdays(pair: Pair, left: str, right: str, words: str) -> None:
    assert pair.level(BIRTH, {"birthday": left}, {"birthday": right}) == words


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ("+8613812345678", "+8613812345678", "the same number"),
        ("+8613812345678", "+8613912345678", "last 8 digits the same"),
        ("+8613812345678", "+8613992345678", "last 7 digits the same"),
        ("+8613812345678", "+8613812345679", "one digit off"),
        ("+8613812345678", "+8613812345687", "one digit off"),
        ("+8613812345678", "+8615900005678", "last 4 digits the same"),
        ("+8613812345678", "+8615900000000", "different"),
    ],
)
def test_phones(pair: Pair, left: str, right: str, words: str) -> None:
    assert pair.level(PHONE, {"phone": left}, {"phone": right}) == words


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ("anna@x.de", "Anna@X.de", "the same"),
        ("a.nna+shop@x.de", "anna@y.org", "the same before the @, apart from dots and +"),
        ("annaschmidt@x.de", "annaschmitt@x.de", "nearly the same before the @"),
        ("zhangwei81@qq.com", "zhangwei82@qq.com", "different"),
        ("anna@x.de", "anne@x.de", "different"),
    ],
)
def test_mailboxes(pair: Pair, left: str, right: str, words: str) -> None:
    assert pair.level(EMAIL, {"email": left}, {"email": right}) == words


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        ({"postcode": "91054"}, {"postcode": "91054", "city": "x"}, "the same postcode"),
        ({"city_code": "440300"}, {"city_code": "440300"}, "the same city"),
        ({"city": "Erlangen"}, {"city": "Erlagen"}, "nearly the same city"),
        ({"city_code": "440300"}, {"city_code": "440400"}, "the same province"),
        ({"city_code": "440300"}, {"city_code": "110100"}, "different"),
        ({}, {"city_code": "110100"}, UNKNOWN),
    ],
)
def test_regions(pair: Pair, left: dict[str, str], right: dict[str, str], words: str) -> None:
    assert pair.level(REGION, left, right) == words


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda one: one.title)
def test_the_shipped_values_are_shares_of_one(comparison: Comparison) -> None:
    assert sum(comparison.shipped_m) == pytest.approx(1, abs=0.001)
    assert sum(comparison.shipped_u) == pytest.approx(1, abs=0.001)
    assert min(comparison.shipped_m) > 0
    assert min(comparison.shipped_u) >= LEAST_U


def test_words_follow_the_numbers_of_levels() -> None:
    assert [BIRTH.words(number) for number in (0, 5, 4, 1)] == [
        "different", "the same", "day and month exchanged", "12 years apart or more",
    ]  # fmt: skip
