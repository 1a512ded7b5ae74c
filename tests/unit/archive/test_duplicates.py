"""Rows that ClickHouse has twice are counted seldom, by one process, and never in place of the work."""

from types import SimpleNamespace

import pytest
from prometheus_client import Gauge

from services.chassis.clickhouse import Row
from services.chassis.errors import Retriable
from services.profile.archive import tables
from services.profile.archive.tables import DUPLICATES_EVERY_S, DuplicateCheck, in_turn


class House:
    """ClickHouse, asked for duplicates."""

    database = "touchstream"

    def __init__(self) -> None:
        self.asked, self.copies, self.is_away = 0, 3, False

    def query_rows(self, sql: str, params: dict[str, object] | None = None) -> list[Row]:
        self.asked += 1
        if self.is_away:
            raise Retriable("away")
        assert "duplicates_daily" in sql
        return [{"table": "events", "copies": self.copies}]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [1_000.0]
    monkeypatch.setattr(tables, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


def shown(gauge: Gauge) -> dict[str, float]:
    return {sample.labels["table"]: sample.value for metric in gauge.collect() for sample in metric.samples}


def test_copies_are_shown_and_asked_for_again_only_after_a_while(now: list[float]) -> None:
    house, gauge = House(), Gauge("duplicates_shown", "in a test", ["table"])
    check = DuplicateCheck(house, gauge, lambda: True)
    check()
    check()
    assert (house.asked, shown(gauge)) == (1, {"events": 3})
    house.copies = 0
    now[0] += DUPLICATES_EVERY_S
    check()
    assert (house.asked, shown(gauge)) == (2, {"events": 0})


def test_a_process_whose_turn_it_is_not_says_nothing(now: list[float]) -> None:
    house, gauge, mine = House(), Gauge("duplicates_mine", "in a test", ["table"]), [True]
    check = DuplicateCheck(house, gauge, lambda: mine[0])
    check()
    mine[0] = False
    now[0] += DUPLICATES_EVERY_S
    check()
    assert (house.asked, shown(gauge)) == (1, {})


def test_a_clickhouse_that_is_away_stops_nothing(now: list[float]) -> None:
    house, gauge, done = House(), Gauge("duplicates_away", "in a test", ["table"]), []
    house.is_away = True
    in_turn(DuplicateCheck(house, gauge, lambda: True), lambda: done.append(1))()
    assert (house.asked, shown(gauge), done) == (1, {}, [1])
