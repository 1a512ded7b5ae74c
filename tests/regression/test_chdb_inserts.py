"""chDB reports a streamed insert as done although its commit failed; the local ClickHouse says that it failed."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration import archive_backends


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = archive_backends.settings_of(Path(tmp_path_factory.mktemp("clickhouse")))
    with (
        archive_backends.clickhouse(settings) as url,
        httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client,
    ):
        for table, more in {
            "checked": ", CONSTRAINT fine CHECK a != 'bad') ENGINE = MergeTree ORDER BY a",
            "crowded": ") ENGINE = MergeTree ORDER BY a SETTINGS parts_to_delay_insert = 2, parts_to_throw_insert = 2",
            "plain": ") ENGINE = MergeTree ORDER BY a",
        }.items():
            client.post("/", content=f"CREATE TABLE {table} (a String{more}").raise_for_status()
        client.post("/", content="SYSTEM STOP MERGES crowded").raise_for_status()
        yield client


def insert(client: httpx.Client, table: str, value: str) -> httpx.Response:
    return client.post("/", content=f"INSERT INTO {table} FORMAT TabSeparated\n{value}\n")


def rows(client: httpx.Client, table: str) -> int:
    return int(client.post("/", content=f"SELECT count() FROM {table}").text)


def test_a_violated_constraint_is_an_error(client: httpx.Client) -> None:
    answer = insert(client, "checked", "bad")
    assert answer.status_code == 500
    assert "VIOLATED_CONSTRAINT" in answer.text
    assert rows(client, "checked") == 0


def test_too_many_parts_are_an_error_and_every_acknowledged_row_is_there(client: httpx.Client) -> None:
    statuses = [insert(client, "crowded", f"row {number}").status_code for number in range(6)]
    assert statuses == [200, 200, 500, 500, 500, 500]
    assert rows(client, "crowded") == 2


def test_data_that_do_not_fit_the_table_are_an_error(client: httpx.Client) -> None:
    assert insert(client, "plain", "one\ttoo\tmany").status_code != 200
    assert rows(client, "plain") == 0


def test_an_insert_after_somebody_elses_error_is_done(client: httpx.Client) -> None:
    assert client.post("/", content="SELECT nonsense").status_code == 404
    assert insert(client, "plain", "fine").status_code == 200
    assert rows(client, "plain") == 1
