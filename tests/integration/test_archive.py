"""archive as a process on real backends: killed, refused and lied to by ClickHouse; every row is there exactly once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import redis

from services.chassis.clickhouse import Clickhouse
from services.chassis.kafka.offsets import end_offsets
from services.chassis.testing.waiting import free_port, wait_for
from services.profile.archive.tables import MIN_WINDOW
from tests.chaos.rig.clickhouse_faults import ClickhouseFront
from tests.integration import archive_backends
from tests.integration.archive_process import (
    AT,
    PARTITIONS,
    Log,
    Process,
    events_of,
    positions,
    wait_until_archived,
)


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
    log.forget_group()


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


@pytest.fixture
def front(database: Clickhouse) -> Iterator[ClickhouseFront]:
    with closing(ClickhouseFront(0, database.url)) as front:
        yield front


def test_an_error_after_the_insert_was_applied_writes_nothing_twice(
    log: Log, start: Start, database: Clickhouse, redis_client: "redis.Redis", front: ClickhouseFront
) -> None:
    for number in range(100):
        log.event(number % 2)
    log.flush()
    front.break_answers(3)
    wait_until_archived(start(CLICKHOUSE_URL=front.url), redis_client, log)
    assert front.counters.broken == 3
    assert events_of(database) == sorted(log.events)


def test_an_insert_that_is_applied_and_never_answered_writes_nothing_twice(
    log: Log, start: Start, database: Clickhouse, redis_client: "redis.Redis", front: ClickhouseFront
) -> None:
    for number in range(100):
        log.event(number % 2)
    log.flush()
    front.withhold_answers(1)
    process = start(CLICKHOUSE_URL=front.url)
    wait_for(lambda: front.counters.withheld == 1, "an insert is applied and not answered")
    front.heal()
    wait_until_archived(process, redis_client, log)
    assert events_of(database) == sorted(log.events)


def test_while_clickhouse_is_down_nothing_is_lost_and_health_says_so(
    log: Log, start: Start, database: Clickhouse, redis_client: "redis.Redis", front: ClickhouseFront
) -> None:
    port = free_port()
    front.refuse()
    process = start(CLICKHOUSE_URL=front.url, ARCHIVE_METRICS_PORT=str(port), ARCHIVE_BUFFER_BYTES="1048576")
    wait_for(lambda: front.counters.refused >= 3, "archive keeps trying")
    front.down()
    for number in range(3_000):
        log.event(number % 2)
    log.flush()
    wait_for(lambda: front.counters.resets >= 1, "archive keeps trying")
    report = httpx.get(f"http://127.0.0.1:{port}/readyz")
    assert report.status_code == 503
    assert report.json()["components"]["clickhouse"]["ok"] is False
    assert "touchstream_archive_clickhouse_up 0.0" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
    front.heal()
    wait_until_archived(process, redis_client, log)
    wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200, "archive is ready again")
    assert events_of(database) == sorted(log.events)


def test_a_batch_repeated_beyond_the_deduplication_window_is_seen_and_collapses(
    log: Log, start: Start, database: Clickhouse, redis_client: "redis.Redis", front: ClickhouseFront
) -> None:
    for number in range(20):
        log.event(number % 2)
    log.flush()
    window = "ALTER TABLE events_raw MODIFY SETTING non_replicated_deduplication_window = "
    database.command(window + str(MIN_WINDOW))
    front.withhold_answers(1)
    process = start(CLICKHOUSE_URL=front.url)
    wait_for(lambda: front.counters.withheld == 1, "a batch is applied and not answered")
    process.popen.kill()
    # What other workers insert meanwhile: as many inserts as the table remembers, each a block and a part of its own;
    # that they are on disk takes a minute and is not what is asked here.
    on_disk = "ALTER TABLE events_raw MODIFY SETTING fsync_after_insert = {0}, fsync_part_directory = {0}"
    database.command(on_disk.format(0))
    for first in range(0, MIN_WINDOW + 1, 100):  # in one statement it may outlast the client's patience
        database.command(
            f"INSERT INTO events_raw (event_id, log_at) SELECT 'other' || number, now() FROM numbers({first}, 100)"
            " SETTINGS max_block_size = 1, min_insert_block_size_rows = 1, max_insert_threads = 1"
        )
    database.command(on_disk.format(1))
    front.heal()
    wait_until_archived(start(), redis_client, log)
    copies = database.query_rows("SELECT sum(copies) AS n FROM duplicates_daily WHERE table = 'events'")
    database.command("OPTIMIZE TABLE events_raw FINAL")
    print(copies, database.query_rows("SELECT sum(copies) AS n FROM duplicates_daily WHERE table = 'events'"))
    assert copies[0]["n"] > 0
    assert [name for name in events_of(database) if name.startswith("e")] == sorted(log.events)
    database.command(window + "100000")


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
