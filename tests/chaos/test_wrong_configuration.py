"""A configuration under which events could be lost or doubled ends a service at its start, and it says what to change.

On real processes and backends. What is right starts, so that no refusal comes from something else.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field

import httpx
import pytest

from deploy.kafka.cluster import Cluster
from services.chassis.testing.waiting import free_port, wait_for
from services.chassis.topics import create_topics, load_topics
from tests.chaos.rig.world import PARTITIONS, World, create_anew, redis_setting, topic_setting, world

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
FATAL, WRONG_SETTINGS = 1, 2
# A start takes 2 s of CPU; this is for a machine that has ten other things to do.
START_TIMEOUT_S = 180
READS = {
    "identity": "touchpoints",
    "profile": "touchpoints.resolved",
    "rules": "profile.changes",
    "archive": "touchpoints.resolved",
    "notify": "triggers",
}
WITH_LEDGER = ("identity", "profile", "rules", "archive")
LEDGERS = {"profile": "{profile:0}", "rules": "{rules:0}", "identity": "{identity}"}
# profile and rules run the same loop as identity: what is judged there is judged once.
WAYS = ("identity", "archive", "notify")
Change = Callable[[World, str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Wrong:
    """What is wrong, for which services, and what they must say."""

    what: str
    services: tuple[str, ...]
    says: tuple[str, ...]
    change: Change = lambda world, service: nullcontext()
    environ: dict[str, str] = field(default_factory=dict)
    code: int = FATAL


EVERYWHERE = ("ingest", *READS)
RELAXED = {"TOUCHSTREAM_RELAXED_DURABILITY": "true"}
CASES = [
    Wrong(
        "everysec without saying so", tuple(READS),
        ("appendfsync is 'everysec', must be 'always'", "TOUCHSTREAM_RELAXED_DURABILITY"),
        lambda world, _: redis_setting(world, "appendfsync", "everysec"),
    ),
    Wrong(
        "no append-only file", WAYS, ("appendonly is 'no', must be 'yes'",),
        lambda world, _: redis_setting(world, "appendonly", "no"),
    ),
    Wrong(
        "eviction, relaxed or not", WAYS,
        ("maxmemory-policy is 'allkeys-lru', must be 'noeviction'", "Change the server's configuration"),
        lambda world, _: redis_setting(world, "maxmemory-policy", "allkeys-lru"), RELAXED,
    ),
    Wrong(
        "retention too short", WAYS,
        (r"retention.ms is 3600000, must be at least \d+", "TOUCHSTREAM_LEAST_RETENTION_MS", "kafka-configs.sh"),
        lambda world, service: topic_setting(world, READS[service], "retention.ms", "3600000"),
    ),
    Wrong(
        "a limit in bytes", WAYS, ("retention.bytes is 1000000, must be -1",),
        lambda world, service: topic_setting(world, READS[service], "retention.bytes", "1000000"),
    ),
    Wrong(
        "producers' time stamps", WAYS,
        ("message.timestamp.type is CreateTime, must be LogAppendTime", "kafka-configs.sh"),
        lambda world, service: topic_setting(world, READS[service], "message.timestamp.type", "CreateTime"),
    ),
    Wrong(
        "other partitions", EVERYWHERE, ("TOUCHSTREAM_PARTITIONS", str(PARTITIONS), "64"),
        environ={"TOUCHSTREAM_PARTITIONS": "64"},
    ),
    Wrong(
        "a misspelt variable", EVERYWHERE,
        ("TOUCHSTREAM_PARTITION: no such setting; did you mean TOUCHSTREAM_PARTITIONS?",),
        environ={"TOUCHSTREAM_PARTITION": "2"}, code=WRONG_SETTINGS,
    ),
    Wrong(
        "a database without tables", ("archive",),
        ("table events_raw does not exist", "services.profile.archive.migrate"),
        environ={"TOUCHSTREAM_CLICKHOUSE_DATABASE": "default"},
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Backends in their right configuration, and the ledgers of services that have run on them."""
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


def must_run(world: World, service: str) -> None:
    """Start it as it should be, wait until it is ready, stop it."""
    port = free_port()
    started = world.start(service, {f"TOUCHSTREAM_{service.upper()}_METRICS_PORT": str(port)})

    def is_ready() -> bool:
        assert started.process.poll() is None, started.said()[-3_000:]
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def has_claimed() -> bool:
        key = (
            "{archive.touchpoints.resolved:0}:ledger:0" if service == "archive" else f"{LEDGERS.get(service)}:ledger:0"
        )
        return service not in WITH_LEDGER or bool(world.redis.exists(key))

    try:
        wait_for(lambda: is_ready() and has_claimed(), f"{service} is ready and owns partitions", START_TIMEOUT_S)
        started.process.terminate()
        assert started.ended() == 0
    finally:
        started.process.kill()
        started.process.wait()


def must_refuse(world: World, wrong: Wrong) -> None:
    """All its services at once, each on its own."""
    with ExitStack() as changes:
        for service in wrong.services:
            changes.enter_context(wrong.change(world, service))
        started = {service: world.start(service, wrong.environ) for service in wrong.services}
        codes = {service: process.ended() for service, process in started.items()}
    assert codes == dict.fromkeys(wrong.services, wrong.code), {name: it.said()[-800:] for name, it in started.items()}
    for service, process in started.items():
        said = process.said()
        for text in wrong.says:
            pattern = text if "\\" in text else re.escape(text)
            assert re.search(pattern, said), f"{service}: {text!r} is not in:\n{said[-3_000:]}"


@pytest.mark.parametrize("service", EVERYWHERE)
def test_the_right_configuration_starts(right: World, service: str) -> None:
    must_run(right, service)


@pytest.mark.parametrize("wrong", CASES, ids=lambda wrong: wrong.what)
def test_a_wrong_configuration_is_refused_with_what_to_change(right: World, wrong: Wrong) -> None:
    must_refuse(right, wrong)


def test_tables_that_forget_their_inserts_are_refused(right: World) -> None:
    setting = "ALTER TABLE triggers_raw MODIFY SETTING non_replicated_deduplication_window = "
    right.clickhouse.command(setting + "0")
    says = ("triggers_raw: non_replicated_deduplication_window is 0, must be at least 1000",)
    must_refuse(right, Wrong("no window", ("archive",), says))
    right.clickhouse.command(setting + "100000")


def test_a_migration_that_was_edited_is_refused(right: World) -> None:
    right.clickhouse.command(
        "ALTER TABLE schema_migrations UPDATE checksum = 'edited' WHERE version = 3 SETTINGS mutations_sync = 1"
    )
    started = right.start("archive", {}, module="services.profile.archive.migrate")
    assert started.ended() == FATAL
    assert "An applied file is never edited: restore it and write the change as a new one" in started.said()


def test_another_kafka_is_refused(right: World, other: str) -> None:
    says = (r"ledger \S+ belongs to version 1, cluster", "Point the service at its own Kafka", "touchstream rebase")
    must_refuse(right, Wrong("other", WITH_LEDGER, says, environ={"TOUCHSTREAM_KAFKA_BOOTSTRAP": other}))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another Kafka with the same topics."""
    with Cluster(tmp_path_factory.mktemp("other")) as cluster:
        create_topics(cluster.bootstrap, load_topics().values(), PARTITIONS)
        yield cluster.bootstrap


def test_a_ledger_of_another_version_is_refused(right: World) -> None:
    keys = list(right.redis.scan_iter("*:ledger:*"))
    assert keys
    for key in keys:
        right.redis.hset(key, "version", "2")
    must_refuse(right, Wrong("version", WITH_LEDGER, (r"ledger \S+ belongs to version 2",)))
    for key in keys:
        right.redis.hset(key, "version", "1")


def test_topics_created_anew_are_refused(right: World) -> None:
    for topic in sorted({READS[service] for service in WITH_LEDGER}):
        create_anew(right.kafka, topic)
    must_refuse(right, Wrong("anew", WITH_LEDGER, (r"ledger \S+ belongs to version 1, .*touchstream rebase",)))
