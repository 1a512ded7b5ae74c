"""The load and the floors come to an end, whatever answers them."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.bench import command, floor
from cli.bench.load import LoadError, send
from deploy.local.settings import LocalSettings


@contextmanager
def answering(*statuses: int) -> Iterator[str]:
    """The address of a server that answers these in turn, the last one for ever."""
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.end_headers()

        def log_request(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_refused_request_is_sent_again_until_it_has_its_200() -> None:
    with answering(503, 500, 200) as url:
        sent = send(url, "local", [b"{}"], 0.0)
    assert (dict(sent.statuses), sent.retries) == ({503: 1, 500: 1, 200: 1}, 2)


def test_a_target_that_always_refuses_ends_the_load_with_its_answer() -> None:
    began = time.monotonic()
    with answering(500) as url, pytest.raises(LoadError, match=r"no 200 for 0\.3 s .*the last answer was 500"):
        send(url, "local", [b"{}"] * 1_000, 0.0, give_up_s=0.3)
    assert time.monotonic() - began < 10


def test_a_target_that_is_not_there_ends_the_load() -> None:
    with pytest.raises(LoadError, match="no answer"):
        send("http://127.0.0.1:9", "local", [b"{}"], 0.0, give_up_s=0.1)


class Broker:
    """As librdkafka: a partition that the topic does not have is refused."""

    def __init__(self, partitions: int) -> None:
        self.partitions, self.used = partitions, set[int]()

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, headers: object = None) -> None:
        if partition >= self.partitions:
            raise RuntimeError("_UNKNOWN_PARTITION")
        self.used.add(partition)

    def flush(self) -> None:
        """Nothing waits."""


class Nothing:
    """Valkey, where it does not matter."""

    def register_script(self, text: str) -> object:
        return lambda **_: None

    def mget(self, keys: list[str]) -> None:
        """Nothing is there."""


def floors(partitions: int, monkeypatch: pytest.MonkeyPatch) -> tuple[floor.Floors, Broker]:
    broker = Broker(partitions)
    monkeypatch.setattr(floor, "create_topics", lambda *_: [])
    monkeypatch.setattr(floor, "producer", lambda *_: broker)
    monkeypatch.setattr(floor, "sync_client", lambda _: Nothing())
    return floor.Floors(LocalSettings(partitions=partitions)), broker


@pytest.mark.parametrize("partitions", [1, 2, 4])
def test_the_floors_use_the_partitions_that_there_are(partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made, broker = floors(partitions, monkeypatch)
    monkeypatch.setattr(made, "_records", lambda *_: [floor.Record("t", 0, 0, b"k", b"v", {}, 0)] * 3)
    assert (made.identity(3), made.profile(3)) == (3, 3)
    assert broker.used <= set(range(partitions))
    assert made.ingest(500) == 500
    assert broker.used == set(range(partitions))


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import time; time.sleep(60)", "failed: not done after 0.5 s"),
        ("raise SystemExit(3)", "failed: exit code 3, without a word"),
        ("raise SystemExit('no broker')", "failed: no broker"),
        ("print('{\"cpu_us\": 7.5}')", "7.5"),
    ],
)
def test_a_floor_that_fails_or_hangs_is_said_in_its_row(
    program: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = subprocess.run
    monkeypatch.setattr(command, "FLOOR_TIMEOUT_S", 0.5 if "sleep" in program else 30.0)
    monkeypatch.setattr(command.subprocess, "run", lambda argv, **how: run([argv[0], "-c", program], **how))
    assert command._floor("ingest", {}) == said
