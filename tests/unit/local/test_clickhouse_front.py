"""The chDB front as the stock clickhouse-connect client sees it: types, inserts, deduplication, parameters, errors."""

import subprocess
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

TYPES: dict[str, tuple[str, list[Any]]] = {
    "u8": ("UInt8", [0, 255]),
    "i64": ("Int64", [-(2**63), 2**63 - 1]),
    "f64": ("Float64", [-1.5, 1e300]),
    "flag": ("Bool", [True, False]),
    "money": ("Decimal(18, 4)", [Decimal("12.3400"), Decimal("-0.0001")]),
    "text": ("String", ["", "杭州市 ✓\t'\"\\\n"]),
    "code": ("FixedString(3)", [b"CNY", b"U\x00\x00"]),
    "low": ("LowCardinality(String)", ["web", "app"]),
    "maybe": ("Nullable(String)", [None, "x"]),
    "tags": ("Array(String)", [[], ["a", "b"]]),
    "pairs": ("Map(String, String)", [{}, {"k": "v", "ü": ""}]),
    "nested": ("Array(Tuple(String, Int32))", [[("a", 1)], []]),
    "day": ("Date", [date(1970, 1, 1), date(2024, 2, 29)]),
    "at": ("DateTime64(3, 'UTC')", [datetime(2024, 5, 1, 12, 0, 0, 123000, UTC), datetime(1999, 1, 1, tzinfo=UTC)]),
    "sec": ("DateTime('UTC')", [datetime(2024, 5, 1, 12, tzinfo=UTC), datetime(1971, 1, 1, tzinfo=UTC)]),
    "id": ("UUID", [uuid.UUID(int=1), uuid.UUID(int=2**127)]),
    "kind": ("Enum8('event' = 1, 'give' = 2)", ["event", "give"]),
}


def test_every_type_we_use_comes_back_as_it_went_in(client: Client) -> None:
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in TYPES.items())
    client.command(f"CREATE TABLE t (n UInt8, {columns}) ENGINE = MergeTree ORDER BY n")
    rows = [[n, *(values[n] for _, values in TYPES.values())] for n in (0, 1)]
    assert client.insert("t", rows, column_names=["n", *TYPES]).written_rows == 2
    result = client.query("SELECT * FROM t ORDER BY n")
    assert result.column_names == ("n", *TYPES)
    assert [list(row) for row in result.result_rows] == rows


def test_columns_can_be_inserted_column_oriented_with_any_compression(client: Client, front: tuple[str, int]) -> None:
    client.command("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    for start, compression in enumerate(("lz4", "zstd", "gzip", False)):
        other = clickhouse_connect.get_client(host=front[0], port=front[1], compress=compression)
        other.database = client.database
        # Enough for several blocks: each of them is a compressed frame of its own.
        numbers = list(range(start * 100_000, start * 100_000 + 100_000))
        other.insert("t", [numbers, [f"v{n}" for n in numbers]], column_names=["a", "b"], column_oriented=True)
        other.close()
    sums = client.query("SELECT count(), sum(a), countIf(b = 'v' || toString(a)) FROM t")
    assert sums.result_rows == [(400_000, 79_999_800_000, 400_000)]


def test_an_insert_repeated_with_its_token_counts_once_even_after_kill_and_restart(
    start_front: Callable[..., Any], free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    process = start_front(port, tmp_path)
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
    window = "SETTINGS non_replicated_deduplication_window = 100"
    client.command(f"CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a {window}")
    client.command(f"CREATE TABLE sums (a UInt32) ENGINE = MergeTree ORDER BY a {window}")
    client.command("CREATE MATERIALIZED VIEW to_sums TO sums AS SELECT a FROM t")

    def insert(value: int, token: str) -> None:
        client.insert("t", [[value]], column_names=["a"], settings={"insert_deduplication_token": token})

    insert(1, "range-0-10")
    insert(1, "range-0-10")
    insert(1, "range-10-20")
    insert(2, "range-10-20")
    assert client.query("SELECT a FROM t").result_rows == [(1,), (1,)]
    process.kill()
    process.wait()
    start_front(port, tmp_path)
    insert(3, "range-10-20")
    insert(3, "range-20-30")
    assert client.query("SELECT a FROM t ORDER BY a").result_rows == [(1,), (1,), (3,)]
    assert client.query("SELECT a FROM sums ORDER BY a").result_rows == [(1,), (1,), (3,)]


def test_a_second_front_on_the_same_folder_is_refused(refused_front: subprocess.Popen[bytes], client: Client) -> None:
    _, said = refused_front.communicate(timeout=120)
    assert refused_front.returncode == 1
    assert b"Another server instance in same directory is already running" in said
    assert client.command("SELECT 1") == 1


def test_a_big_insert_is_one_part_and_reads_back_whole(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    count = 300_000
    done = client.insert("t", [list(range(count)), ["x" * 50] * count], column_names=["a", "b"], column_oriented=True)
    assert done.written_rows == client.command("SELECT count() FROM t") == count
    parts = f"SELECT count() FROM system.parts WHERE active AND table = 't' AND database = '{client.database}'"
    assert client.command(parts) == 1
    with client.query_column_block_stream("SELECT a, b FROM t ORDER BY a") as stream:
        assert sum(len(block[0]) for block in stream) == count


def test_server_side_parameters_keep_their_bytes(client: Client) -> None:
    nasty = "it's a \t\\ {brace} \n 'DROP'"
    query = "SELECT {s:String} AS s, {n:Int64} + 1 AS n, {l:Array(String)} AS l, {d:DateTime64(3, 'UTC')} AS d"
    at = datetime(2024, 5, 1, 12, 0, 0, 250000, UTC)
    result = client.query(query, parameters={"s": nasty, "n": 41, "l": ["a'b", nasty], "d": at})
    assert list(result.named_results()) == [{"s": nasty, "n": 42, "l": ["a'b", nasty], "d": at}]
    # Long ones travel as a form instead of in the URL.
    long = "杭" * 20_000
    assert client.query("SELECT {s:String}", parameters={"s": long}).result_rows == [(long,)]


def test_commands_say_what_a_server_says(client: Client) -> None:
    assert client.ping()
    assert client.command("SELECT 1, 'a'") == ["1", "a"]
    assert client.command("SELECT 1 WHERE 0") == ""
    client.command("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    client.command("INSERT INTO t VALUES (1), (2)")
    client.command("INSERT INTO t (a) FORMAT CSV", data="3\n4\n")
    client.raw_insert("t", ["a"], b'{"a": 5}\n{"a": 6}\n', fmt="JSONEachRow")
    assert client.command("SELECT sum(a) FROM t") == 21
    assert client.raw_query("SELECT a FROM t WHERE a < 3 ORDER BY a", fmt="JSONEachRow") == b'{"a":1}\n{"a":2}\n'
    assert client.query("SELECT a FROM t WHERE 0").result_rows == []
    assert client.query("SELECT a FROM t LIMIT 0").column_names == ("a",)
    assert client.query_df("SELECT a FROM t ORDER BY a")["a"].tolist() == [1, 2, 3, 4, 5, 6]


def test_settings_of_one_request_do_not_leak_into_the_next(client: Client) -> None:
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 1}) == 1
    assert client.command("SELECT getSetting('max_threads')") != 1


def test_the_token_of_one_insert_does_not_leak_into_the_next(client: Client) -> None:
    window = "SETTINGS non_replicated_deduplication_window = 100"
    client.command(f"CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n {window}")
    client.insert("t", [[1]], settings={"insert_deduplication_token": "it's mine"})
    client.insert("t", [[2]])
    with pytest.raises(DatabaseError):
        client.raw_insert("t", ["n"], b"no number\n", fmt="CSV", settings={"insert_deduplication_token": "third"})
    client.insert("t", [[3]], settings={"insert_deduplication_token": "third"})
    client.insert("t", [[4]], settings={"insert_deduplication_token": "it's mine"})
    assert client.query("SELECT n FROM t ORDER BY n").result_columns == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("sql", "code", "says"),
    [
        ("SELECT nope", 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE"),
        ("SELEC 1", 62, "SYNTAX_ERROR"),
        ("SELECT throwIf(1)", 395, "throwIf"),
    ],
)
def test_errors_carry_the_code_of_clickhouse(client: Client, sql: str, code: int, says: str) -> None:
    with pytest.raises(DatabaseError, match=f"(?s)Code: {code}.*{says}"):
        client.command(sql)
    assert client.command("SELECT 1") == 1


def test_a_failed_insert_leaves_nothing_and_says_why(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(DatabaseError, match="Code: "):
        client.raw_insert("t", ["a"], b"\x01\x05garbage that is no Native block", fmt="Native")
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        client.raw_insert("absent", ["a"], b"1\n", fmt="CSV")
    with pytest.raises(DatabaseError, match="UNKNOWN_SETTING"):
        client.raw_query("SELECT 1", settings={"no_such_setting": "1"})
    assert client.command("SELECT count() FROM t") == 0


def test_inserts_and_queries_run_side_by_side(client: Client, front: tuple[str, int]) -> None:
    client.command("CREATE TABLE t (a UInt64, w UInt8) ENGINE = MergeTree ORDER BY a")
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            own = clickhouse_connect.get_client(host=front[0], port=front[1], database=client.database)
            for start in range(0, 2_000, 200):
                own.insert("t", [[n, worker] for n in range(start, start + 200)], column_names=["a", "w"])
                seen = own.query("SELECT count() FROM t WHERE w = {w:UInt8}", parameters={"w": worker}).result_rows
                assert seen == [(start + 200,)]
            own.close()
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert client.query("SELECT count(), uniqExact(a, w) FROM t").result_rows == [(12_000, 12_000)]


def test_plain_http_works_like_a_server(front: tuple[str, int]) -> None:
    url = f"http://{front[0]}:{front[1]}"
    assert httpx.get(f"{url}/").text == "Ok.\n"
    assert httpx.get(f"{url}/", params={"query": "SELECT 1 + 1"}).text == "2\n"
    answer = httpx.post(url, content="SELECT 1 AS one FORMAT JSON")
    assert answer.json()["data"] == [{"one": 1}]
    assert answer.headers["x-clickhouse-format"] == "JSON"
    wrong = httpx.post(url, content="SELECT * FROM nowhere")
    assert (wrong.status_code, wrong.headers["x-clickhouse-exception-code"]) == (404, "60")
    assert httpx.post(url, content=b"no lz4", headers={"Content-Encoding": "lz4"}).status_code == 400
    assert httpx.post(url, content=b"x", headers={"Content-Encoding": "snappy"}).status_code == 415


def test_web_pages_are_refused(front: tuple[str, int]) -> None:
    url = f"http://{front[0]}:{front[1]}"
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        assert httpx.post(url, content="SELECT 1", headers=headers).status_code == 403
