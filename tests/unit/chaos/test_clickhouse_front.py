"""The front does to inserts what it says; the server behind it knows what was applied."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from services.chassis.testing.waiting import free_port, wait_for
from tests.chaos.rig.clickhouse_faults import ClickhouseFront

INSERT = b"INSERT INTO events_raw FORMAT Native\n..."


class Server:
    """Remembers the bodies it got, answers each with its number."""

    def __init__(self) -> None:
        self.applied: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.applied.append(self.rfile.read(int(self.headers.get("content-length", 0))))
                body = b"%d" % len(outer.applied)
                self.send_response(200)
                self.send_header("X-ClickHouse-Summary", "{}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def front(server: Server) -> Iterator[ClickhouseFront]:
    front = ClickhouseFront(0, server.url)
    yield front
    front.close()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=0.3, trust_env=False) as client:
        yield client


def test_without_faults_it_is_the_server(server: Server, front: ClickhouseFront, client: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield INSERT
        yield b" the rest"

    reply = client.post(front.url, content=pieces())  # chunked, as the driver sends
    assert (reply.text, reply.headers["x-clickhouse-summary"]) == ("1", "{}")
    assert server.applied == [INSERT + b" the rest"]
    assert front.counters.inserts == 1


def test_refused_inserts_are_not_applied_and_reads_go_on(
    server: Server, front: ClickhouseFront, client: httpx.Client
) -> None:
    front.refuse()
    assert client.post(front.url, content=INSERT).status_code == 503
    assert client.post(front.url, params={"query": "INSERT INTO t VALUES"}).status_code == 503
    assert client.post(front.url, content=b"SELECT 1").status_code == 200
    assert server.applied == [b"SELECT 1"]
    assert front.counters.refused == 2


def test_broken_inserts_are_applied_and_answered_with_an_error(
    server: Server, front: ClickhouseFront, client: httpx.Client
) -> None:
    front.break_answers(2)
    statuses = [client.post(front.url, content=INSERT).status_code for _ in range(3)]
    assert statuses == [500, 500, 200]
    assert len(server.applied) == 3
    assert front.counters.broken == 2


def test_only_inserts_into_the_wanted_table_are_broken(front: ClickhouseFront, client: httpx.Client) -> None:
    front.break_answers(1, "triggers_raw")
    others = [client.post(front.url, content=INSERT).status_code for _ in range(2)]
    wanted = client.post(front.url, content=INSERT.replace(b"events_raw", b"triggers_raw")).status_code
    assert (others, wanted) == ([200, 200], 500)


def test_a_withheld_insert_is_applied_and_never_answered(
    server: Server, front: ClickhouseFront, client: httpx.Client
) -> None:
    front.withhold_answers(1)
    with pytest.raises(httpx.ReadTimeout):
        client.post(front.url, content=INSERT)
    assert server.applied == [INSERT]
    assert client.post(front.url, content=INSERT).status_code == 200
    assert front.counters.withheld == 1


def test_heal_resets_who_still_waits(server: Server, front: ClickhouseFront) -> None:
    front.withhold_answers(1)
    failures: list[Exception] = []

    def insert() -> None:
        try:
            httpx.post(front.url, content=INSERT, timeout=20, trust_env=False)
        except httpx.HTTPError as error:
            failures.append(error)

    waiting = threading.Thread(target=insert)
    waiting.start()
    wait_for(lambda: front.counters.withheld == 1, "the insert is withheld")
    front.heal()
    waiting.join(5)
    assert [type(failure) for failure in failures] == [httpx.ReadError]


def test_down_resets_everything_and_heal_ends_it(server: Server, front: ClickhouseFront, client: httpx.Client) -> None:
    front.down()
    for body in (INSERT, b"SELECT 1"):
        with pytest.raises(httpx.ReadError):
            client.post(front.url, content=body)
    front.heal()
    assert client.post(front.url, content=INSERT).status_code == 200
    assert len(server.applied) == 1


def test_slow_is_felt(front: ClickhouseFront, client: httpx.Client) -> None:
    front.slow(0.1)
    started = time.monotonic()
    assert client.post(front.url, content=INSERT).status_code == 200
    assert time.monotonic() - started >= 0.1


def test_a_server_that_is_away_is_an_error(client: httpx.Client) -> None:
    front = ClickhouseFront(0, f"http://127.0.0.1:{free_port()}")
    assert client.post(front.url, content=INSERT).status_code == 502
    front.close()
