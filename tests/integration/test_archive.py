"""archive as a process on real backends: killed, refused and lied to by ClickHouse; every row is there exactly once."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import redis
from confluent_kafka import Producer

from deploy.local.settings import ROOT
from services.chassis.avro import Codec
from services.chassis.clickhouse import Clickhouse
from services.chassis.kafka.offsets import end_offsets
from services.chassis.testing.waiting import free_port, wait_for
from services.profile.archive.core.rows import FEEDS
from tests.integration import archive_backends

PARTITIONS = 2
AT = 1_750_000_000_000


class Log:
    """Everything that was ever produced: each test archives it all anew, into a database of its own."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
        self._codecs = {record: Codec(record) for record in {feed.record for feed in FEEDS.values()}}
        self._numbers: Counter[tuple[str, int]] = Counter()
        self.events: list[str] = []
        self.dead = 0
        self._ends: dict[tuple[str, int], int] = {}

    def send(self, topic: str, partition: int, value: bytes | None, key: bytes = b"c", **headers: bytes) -> None:
        self._numbers[topic, partition] += 1
        seq = b"0:%d" % self._numbers[topic, partition]
        self._producer.produce(topic, value, key, partition, headers=[*headers.items(), ("seq", seq)])

    def event(self, partition: int, value: bytes | None = None) -> None:
        number = len(self.events) + self.dead
        touchpoint = {
            "event_id": f"e{number}", "source": "shop", "type": "track", "name": "Product Viewed",
            "identifiers": ["anonymous_id:a"], "occurred_at": AT, "received_at": AT,
        }  # fmt: skip
        headers = {"kind": b"event", "n": b"%d" % (number + 1), "node": b"anonymous_id:ab", "src": b"1.0.%d" % number}
        if value is None:
            self.events.append(f"e{number}")
        else:
            self.dead += 1
        value = self._codecs["touchpoint"].encode(touchpoint) if value is None else value
        self.send("touchpoints.resolved", partition, value, b"c%d" % (number % 7), **headers)

    def again(self, partition: int) -> None:
        """An event that identity sent a second time: same number, another offset."""
        self._numbers["touchpoints.resolved", partition] -= 1
        self.send("touchpoints.resolved", partition, b"\x00 not looked at", kind=b"event")

    def record(self, topic: str, fields: dict[str, object]) -> None:
        self.send(topic, 0, self._codecs[FEEDS[topic].record].encode(fields))

    def flush(self) -> None:
        assert self._producer.flush(10) == 0
        self._ends = end_offsets(self.bootstrap, FEEDS)

    def ends(self) -> dict[tuple[str, int], int]:
        return self._ends


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    settings = archive_backends.settings_of(tmp_path_factory.mktemp("broker"))
    with archive_backends.kafka(settings, PARTITIONS) as bootstrap:
        yield Log(bootstrap)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    settings = archive_backends.settings_of(tmp_path_factory.mktemp("clickhouse"))
    with archive_backends.clickhouse(settings) as url, archive_backends.database(url, "archive") as server:
        yield server


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with archive_backends.redis(archive_backends.settings_of(tmp_path_factory.mktemp("valkey"))) as url:
        yield url


@pytest.fixture
def database(shared: Clickhouse) -> Clickhouse:
    archive_backends.truncate(shared)
    return shared


class Process:
    """`python -m services.profile.archive` with a test's settings."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            command = [sys.executable, "-m", "services.profile.archive"]
            self.popen = subprocess.Popen(command, env={**os.environ, **environ}, stdout=out, stderr=out, cwd=ROOT)

    def said(self) -> str:
        return self.log.read_text()[-3000:]

    def died(self) -> bool:
        return self.popen.poll() is not None

    def stop(self) -> None:
        if not self.died():
            self.popen.send_signal(signal.SIGTERM)
        self.popen.wait(20)


Start = Callable[..., Process]


@pytest.fixture
def start(
    log: Log, database: Clickhouse, redis_client: "redis.Redis", redis_url: str, tmp_path: Path
) -> Iterator[Start]:
    started: list[Process] = []

    def run(**changes: str) -> Process:
        environ = {
            "TOUCHSTREAM_KAFKA_BOOTSTRAP": log.bootstrap,
            "TOUCHSTREAM_KAFKA_SESSION_TIMEOUT_MS": "3000",
            "TOUCHSTREAM_REDIS_URL": redis_url,
            "TOUCHSTREAM_CLICKHOUSE_URL": database.url,
            "TOUCHSTREAM_CLICKHOUSE_DATABASE": database.database,
            "TOUCHSTREAM_PARTITIONS": str(PARTITIONS),
            "TOUCHSTREAM_ARCHIVE_METRICS_PORT": "0",
            "TOUCHSTREAM_ARCHIVE_LINGER_MS": "100",
            "TOUCHSTREAM_ARCHIVE_BATCH_ROWS": "50",
        }
        process = Process(environ | {f"TOUCHSTREAM_{name}": value for name, value in changes.items()}, tmp_path / "log")
        started.append(process)
        return process

    yield run
    for process in started:
        process.stop()


def positions(client: "redis.Redis", log: Log) -> dict[str, int]:
    """Records not yet archived per place; empty when archive has reached every end."""
    behind = {}
    for (topic, partition), end in log.ends().items():
        stored = client.hget(f"{{archive.{topic}:{partition}}}:ledger:{partition}", "position")
        if end - int(stored or 0):
            behind[f"{topic}/{partition}"] = end - int(stored or 0)
    return behind


def wait_until_archived(process: Process, client: "redis.Redis", log: Log) -> None:
    def reached() -> bool:
        assert not process.died(), process.said()
        return not positions(client, log)

    try:
        wait_for(reached, "archive reaches the end of every topic", 60)
    except AssertionError as error:
        raise AssertionError(f"{error}; behind: {positions(client, log)}; {process.said()}") from None


def events_of(server: Clickhouse) -> list[str]:
    return sorted(row["event_id"] for row in server.query_rows("SELECT event_id FROM events_raw"))


def test_every_record_of_every_topic_becomes_its_rows(
    log: Log, start: Start, database: Clickhouse, redis_client: "redis.Redis"
) -> None:
    for number in range(100):
        log.event(number % 2)
    log.again(1)
    log.send("touchpoints.resolved", 0, b"\x00", kind=b"take")
    log.event(0, value=b"\x00\x00\x00\x00\x01 of a schema nobody knows")
    common = {"occurred_at": AT, "accepted_at": AT, "cause": "1.0.1", "event_id": "e", "source": "s"}
    log.record(
        "identity.changes", {"g": 1, "kind": "linked", "customer_id": "c", "from_id": "", "nodes": ["a:1"]} | common
    )
    changed = {"tags_added": ["vip"], "tag_reasons": ["rich"], "tag_anchors": ["e"], "stage_to": "repeat"}
    log.record("profile.changes", {"customer_id": "c", "kind": "event", "changed_at": AT} | changed | common)
    log.record("profiles", {"customer_id": "c", "rev": 1, "n": 1, "stage": "repeat", "updated_at": AT})
    log.record(
        "triggers",
        {
            "trigger_id": "t",
            "rule": "r",
            "rule_version": "1",
            "customer_id": "c",
            "anchor": "e",
            "cause": "1.0.1",
            "fired_at": AT,
        },
    )
    log.record(
        "deliveries",
        {
            "delivery_id": "d",
            "trigger_id": "t",
            "customer_id": "c",
            "rule": "r",
            "channel": "sink",
            "destination": "",
            "status": "delivered",
            "fired_at": AT,
            "finished_at": AT,
        },
    )
    log.flush()
    process = start()
    wait_until_archived(process, redis_client, log)
    assert events_of(database) == sorted(log.events)
    for view in ("identity_changes", "tag_changes", "stage_changes", "customers", "triggers", "deliveries"):
        assert database.query_rows(f"SELECT count() AS n FROM {view}") == [{"n": 1}], view
    assert database.query_rows("SELECT sum(copies) AS n FROM duplicates_daily") == [{"n": 0}]
    dead = sum(end for (topic, _), end in end_offsets(log.bootstrap, ["archive.dead"]).items())
    assert dead == log.dead


@pytest.mark.parametrize(
    "step", ["after_claim@5", "after_intent@1", "between_tables@2", "after_insert@3", "after_position@2"]
)
def test_killed_at_a_step_and_started_again_every_row_is_there_once(
    log: Log, start: Start, database: Clickhouse, redis_client: "redis.Redis", step: str
) -> None:
    for number in range(120):
        log.event(number % 2)
    log.flush()
    point, hit = step.split("@")
    first = start(FAILPOINTS=f"archive.{point}=kill@{hit}")
    wait_for(first.died, f"archive dies {step}", 60)
    assert first.popen.returncode == -signal.SIGKILL
    wait_until_archived(start(), redis_client, log)
    assert events_of(database) == sorted(log.events)


class Liar:
    """An HTTP proxy before ClickHouse: passes inserts on and then answers 500, or answers 503 and passes nothing."""

    def __init__(self, target: str) -> None:
        self.lies, self.refusals, self.refusing = 0, 0, False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self._body()
                is_insert = b"INSERT INTO" in body[:200]
                if is_insert and outer.refusing:
                    outer.refusals += 1
                    self._answer(503, b"Code: 209. DB::Exception: down for maintenance. (SOCKET_TIMEOUT)", {})
                    return
                headers = {k: v for k, v in self.headers.items() if k.lower() in ("content-encoding", "content-type")}
                reply = httpx.post(target + self.path, content=body, headers=headers, timeout=30)
                if is_insert and outer.lies:
                    outer.lies -= 1
                    self._answer(500, b"Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)", {})
                    return
                kept = {k: v for k, v in reply.headers.items() if k.lower().startswith("x-clickhouse")}
                self._answer(reply.status_code, reply.content, kept)

            do_GET = do_POST

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@contextmanager
def liar(target: str) -> Iterator[Liar]:
    proxy = Liar(target)
    yield proxy
    proxy.server.shutdown()
    proxy.server.server_close()


def test_an_error_after_the_insert_was_applied_writes_nothing_twice(
    log: Log, start: Start, database: Clickhouse, redis_client: "redis.Redis"
) -> None:
    for number in range(100):
        log.event(number % 2)
    log.flush()
    with liar(database.url) as proxy:
        proxy.lies = 3
        wait_until_archived(start(CLICKHOUSE_URL=proxy.url), redis_client, log)
        assert proxy.lies == 0
    assert events_of(database) == sorted(log.events)


def test_while_clickhouse_refuses_nothing_is_lost_and_health_says_so(
    log: Log, start: Start, database: Clickhouse, redis_client: "redis.Redis"
) -> None:
    port = free_port()
    with liar(database.url) as proxy:
        proxy.refusing = True
        process = start(CLICKHOUSE_URL=proxy.url, ARCHIVE_METRICS_PORT=str(port), ARCHIVE_BUFFER_BYTES="1048576")
        wait_for(lambda: proxy.refusals >= 3, "archive keeps trying")
        for number in range(3_000):
            log.event(number % 2)
        log.flush()
        report = httpx.get(f"http://127.0.0.1:{port}/readyz")
        assert report.status_code == 503
        assert report.json()["components"]["clickhouse"]["ok"] is False
        assert "touchstream_archive_clickhouse_up 0.0" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
        proxy.refusing = False
        wait_until_archived(process, redis_client, log)
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200, "archive is ready again")
    assert events_of(database) == sorted(log.events)


def test_a_second_process_takes_over_the_partitions_of_a_frozen_one(
    log: Log, start: Start, database: Clickhouse, redis_client: "redis.Redis"
) -> None:
    for number in range(200):
        log.event(number % 2)
    log.flush()
    frozen = start(FAILPOINTS="archive.after_intent=stop@2")
    wait_for(lambda: "T" in Path(f"/proc/{frozen.popen.pid}/stat").read_text().split()[2], "the first one freezes")
    wait_until_archived(start(), redis_client, log)
    frozen.popen.send_signal(signal.SIGCONT)
    for number in range(100):
        log.event(number % 2)
    log.flush()
    wait_for(lambda: not positions(redis_client, log), "both go on", 60)
    assert events_of(database) == sorted(log.events)
