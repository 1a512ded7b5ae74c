"""The ClickHouse wrapper against a server that answers what a test says: requests, errors by kind, late connection."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from clickhouse_connect.driver import options

from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.errors import Fatal, Retriable
from services.chassis.settings import SharedSettings
from services.chassis.testing.waiting import free_port
from tests.http_body import read_body


class Server:
    """Speaks as much of ClickHouse's protocol as the driver needs to connect, then what `answer` says."""

    def __init__(self) -> None:
        self.requests: list[dict[str, list[str]]] = []
        self.answer = (200, b"", {})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = read_body(self)
                args = parse_qs(urlsplit(self.path).query)
                sql = args.get("query", [""])[0] + body[:2_000].decode("latin-1")
                status, reply, headers = outer.reply(sql, args)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def reply(self, sql: str, args: dict[str, list[str]]) -> tuple[int, bytes, dict[str, str]]:
        if "version()" in sql:
            return 200, b"26.1.1.1\tUTC\n", {"X-ClickHouse-Summary": "{}"}
        if "system.settings" in sql:
            return 200, _settings(), {}
        if sql.startswith("DESCRIBE"):
            return 200, _describe(), {"X-ClickHouse-Format": "Native"}
        self.requests.append(args | {"sql": [sql]})
        return self.answer


KNOWN_SETTINGS = (
    "insert_deduplication_token insert_deduplicate async_insert max_insert_threads max_partitions_per_insert_block"
)


def _native(columns: dict[str, list[str] | bytes]) -> bytes:
    """One block in ClickHouse's Native format: lists are String columns, bytes a UInt8 column."""
    rows = len(next(iter(columns.values())))
    out = bytes([len(columns), rows])
    for name, values in columns.items():
        if isinstance(values, bytes):
            out += _text(name) + _text("UInt8") + values
        else:
            out += _text(name) + _text("String") + b"".join(_text(value) for value in values)
    return out


def _settings() -> bytes:
    names = KNOWN_SETTINGS.split()
    return _native({"name": names, "value": ["0"] * len(names), "readonly": bytes(len(names))})


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def _describe() -> bytes:
    empty = [""]
    names = ("name", "type", "default_type", "default_expression", "comment", "codec_expression", "ttl_expression")
    return _native({**dict.fromkeys(names, empty), "name": ["x"], "type": ["String"]})


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def client(url: str) -> Clickhouse:
    return connect(SharedSettings(clickhouse_url=url, clickhouse_database="shop"))


def failing(server: Server, code: int, name: str) -> Clickhouse:
    text = f"Code: {code}. DB::Exception: no. ({name}) (version 26.1.1.1)".encode()
    server.answer = (500, text, {"X-ClickHouse-Exception-Code": str(code)})
    return client(server.url)


@pytest.mark.parametrize(
    ("code", "name"),
    [(60, "UNKNOWN_TABLE"), (16, "NO_SUCH_COLUMN_IN_TABLE"), (62, "SYNTAX_ERROR"), (516, "AUTHENTICATION_FAILED")],
)
def test_what_time_does_not_heal_is_fatal_and_says_what_to_do(server: Server, code: int, name: str) -> None:
    with pytest.raises(Fatal, match=r"select 1.*archive\.migrate"):
        failing(server, code, name).query_rows("select 1")


@pytest.mark.parametrize(
    ("code", "name"),
    [(241, "MEMORY_LIMIT_EXCEEDED"), (252, "TOO_MANY_PARTS"), (159, "TIMEOUT_EXCEEDED"), (999, "KEEPER")],
)
def test_everything_else_a_server_says_is_retriable(server: Server, code: int, name: str) -> None:
    with pytest.raises(Retriable):
        failing(server, code, name).insert("t", ["x"], [["a"]], "token")


def test_a_server_that_is_away_is_retriable_and_only_noticed_when_asked() -> None:
    away = client(f"http://127.0.0.1:{free_port()}")
    assert not away.ping()
    with pytest.raises(Retriable):
        away.query_rows("select 1")
    with pytest.raises(Retriable):
        away.command("select 1")
    with pytest.raises(Retriable):
        away.insert("t", ["x"], [["a"]], None)
    away.close()


def test_a_server_that_comes_back_is_used_again(server: Server) -> None:
    back = failing(server, 241, "MEMORY_LIMIT_EXCEEDED")
    with pytest.raises(Retriable):
        back.insert("t", ["x"], [["a"]], "token")
    server.answer = (200, b"", {})
    assert back.insert("t", ["x"], [["a"]], "token") == 1


def test_an_insert_is_synchronous_one_block_and_carries_its_token(server: Server) -> None:
    rows = [f"value {number}" * 40 for number in range(20_000)]
    assert client(server.url).insert("t", ["x"], [rows], "topic/0/0-20000") == 20_000
    (request,) = [one for one in server.requests if "INSERT INTO" in one["sql"][0]]
    assert request["insert_deduplication_token"] == ["topic/0/0-20000"]
    assert (request["async_insert"], request["max_insert_threads"], request["database"]) == (["0"], ["1"], ["shop"])
    # A Native block begins with its numbers of columns and rows (as a varint): 20,000 rows, not a part of them.
    assert b"Native\n\x01\xa0\x9c\x01" in request["sql"][0].encode("latin-1")


def test_an_insert_looks_for_no_data_frames(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pd", "np"):  # the driver imports them when they are asked for, and keeps them here
        monkeypatch.delitem(vars(options), name, raising=False)
    assert client(server.url).insert("t", ["x"], [["a"]], "token") == 1
    assert not {"pd", "np"} & vars(options).keys()


def test_what_cannot_be_serialised_is_not_sent(server: Server) -> None:
    wrong = client(server.url)
    with pytest.raises(AttributeError):
        wrong.insert("t", ["x"], [[object()]], "token")
    with pytest.raises(Fatal, match="2 columns of data for 1"):
        wrong.insert("t", ["x"], [["a"], ["b"]], "token")
    assert not [one for one in server.requests if "INSERT INTO" in one["sql"][0]]
    assert wrong.insert("t", ["x"], [["a"]], "token") == 1


def test_an_insert_without_rows_asks_nobody() -> None:
    assert client("http://127.0.0.1:1").insert("t", ["x"], [[]], "token") == 0


def test_rows_come_as_dicts_by_column_name(server: Server) -> None:
    server.answer = (200, _native({"a": ["1", "2"], "b": ["x", "y"]}), {})
    assert client(server.url).query_rows("select a, b") == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]


def test_rows_are_streamed_as_tuples(server: Server) -> None:
    server.answer = (200, _native({"a": ["1", "2"], "b": ["x", "y"]}), {})
    assert list(client(server.url).stream_rows("select a, b")) == [("1", "x"), ("2", "y")]


def test_the_password_is_in_no_error() -> None:
    settings = SharedSettings(clickhouse_url="http://127.0.0.1:1", clickhouse_password="geheim")  # type: ignore[arg-type]
    with pytest.raises(Retriable) as raised:
        connect(settings).query_rows("select 1")
    assert "geheim" not in json.dumps(str(raised.value))
