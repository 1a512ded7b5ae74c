"""RFM thresholds on a real engine and Redis: computed by one, kept through every outage, stored when they change."""

from collections.abc import Iterator

import pytest
import redis

from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.errors import Retriable
from services.chassis.records import Record
from services.chassis.redis.shared import SharedValue
from services.chassis.testing.clock import FakeClock
from services.profile.archive.core.rows import customer_rows
from services.profile.archive.settings import ArchiveSettings
from services.profile.core.calendar import DAY_MS, Calendar
from services.profile.core.population import compute_thresholds
from services.profile.core.state import Thresholds
from services.profile.thresholds import KEY, Refresher, from_json, to_json
from tests.integration import archive_backends

AT = 1_750_000_000_000
CALENDAR = Calendar("Asia/Shanghai")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    settings = archive_backends.settings_of(tmp_path_factory.mktemp("thresholds"))
    with archive_backends.clickhouse(settings) as url, archive_backends.database(url, "thresholds") as server:
        yield server


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with archive_backends.redis(archive_backends.settings_of(tmp_path_factory.mktemp("valkey"))) as url:
        yield url


@pytest.fixture
def server(database: Clickhouse) -> Clickhouse:
    archive_backends.truncate(database)
    return database


@pytest.fixture
def cell(redis_client: "redis.Redis") -> SharedValue:
    return SharedValue(redis_client, KEY)


def buy(server: Clickhouse, customer: int, recency: int, frequency: int, spend: int, rev: int = 1) -> None:
    value = {
        "customer_id": f"c{customer}", "rev": rev, "n": 1, "deleted": False, "first_seen": AT, "last_seen": AT,
        "stage": "repeat", "stage_since": AT, "tags": b"[]", "traits": b"{}", "identifiers": [], "nodes": [],
        "recency_days": recency, "frequency": frequency, "monetary_minor": spend, "currency": "CNY", "r": 0, "f": 0,
        "m": 0, "thresholds_version": 0, "events": 1, "updated_at": AT,
    }  # fmt: skip
    (rows,) = customer_rows([Record("profiles", 0, customer, b"", b"", {}, AT)], [value])
    server.insert(rows.table, rows.columns, rows.data, None)


def refresher(server: Clickhouse, cell: SharedValue, owner: bool = True, clock: FakeClock | None = None) -> Refresher:
    return Refresher(server, cell, CALENDAR, lambda: owner, clock or FakeClock(AT))


def stored(server: Clickhouse) -> list[Thresholds]:
    rows = server.query_rows("SELECT thresholds FROM rfm_thresholds ORDER BY version")
    return [from_json(row["thresholds"]) for row in rows]


def away(url: str) -> Clickhouse:
    return connect(ArchiveSettings(clickhouse_url="http://127.0.0.1:1"))


def test_thresholds_survive_json_unchanged() -> None:
    thresholds = compute_thresholds([(i, i % 7 + 1, i * 100) for i in range(50)], 3)
    assert thresholds is not None
    assert from_json(to_json(thresholds).decode()) == thresholds


def test_without_buyers_there_are_none(server: Clickhouse, cell: SharedValue) -> None:
    buy(server, 1, -1, 0, 0)
    assert refresher(server, cell)() is None
    assert stored(server) == []


def test_the_owner_computes_stores_and_shares_them(server: Clickhouse, cell: SharedValue) -> None:
    population = [(i, i % 4 + 1, i * 100) for i in range(20)]
    for number, row in enumerate(population):
        buy(server, number, *row)
    found = refresher(server, cell)()
    assert found == compute_thresholds(population, 1)
    assert stored(server) == [found]
    assert refresher(server, cell, owner=False)() == found


def test_the_days_since_a_snapshot_count_as_recency(server: Clickhouse, cell: SharedValue) -> None:
    for number in range(5):
        buy(server, number, number, 1, 100)
    clock = FakeClock(AT + 3 * DAY_MS)
    found = refresher(server, cell, clock=clock)()
    assert found == compute_thresholds([(number + 3, 1, 100) for number in range(5)], 1)


def test_only_a_change_of_cuts_makes_a_new_version(server: Clickhouse, cell: SharedValue) -> None:
    for number in range(10):
        buy(server, number, number, 1, 100)
    refresh = refresher(server, cell)
    first = refresh()
    assert refresh() == first
    for number in range(10, 20):
        buy(server, number, 40, 9, 99_999)
    second = refresh()
    assert second is not None
    assert second.version == 2
    assert [thresholds.version for thresholds in stored(server)] == [1, 2]


def test_a_restart_without_clickhouse_takes_them_from_redis(server: Clickhouse, cell: SharedValue) -> None:
    buy(server, 1, 1, 1, 100)
    first = refresher(server, cell)()
    assert refresher(away(server.url), cell)() == first


def test_an_emptied_redis_takes_them_from_clickhouse_and_the_numbers_go_on(
    server: Clickhouse, cell: SharedValue, redis_client: "redis.Redis"
) -> None:
    buy(server, 1, 1, 1, 100)
    first = refresher(server, cell)()
    redis_client.flushall()
    assert refresher(server, cell, owner=False)() == first
    assert refresher(server, cell)() == first
    buy(server, 2, 9, 9, 900)
    again = refresher(server, cell)()
    assert again is not None
    assert again.version == 2


def test_of_two_that_compute_at_once_one_wins_and_both_use_it(server: Clickhouse, cell: SharedValue) -> None:
    buy(server, 1, 1, 1, 100)

    class Slow(SharedValue):
        """Somebody else stores theirs between this one's look and its own store."""

        def replace(self, former: bytes | None, value: bytes) -> bool:
            buy(server, 2, 9, 9, 900)
            self.winner = refresher(server, cell)()
            return super().replace(former, value)

    slow = Slow(cell._client, KEY)
    assert refresher(server, slow)() == slow.winner
    assert len(stored(server)) == 1


def test_without_clickhouse_and_redis_it_says_so(server: Clickhouse, cell: SharedValue) -> None:
    with pytest.raises(Retriable):
        refresher(away(server.url), cell)()
