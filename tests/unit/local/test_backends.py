"""Broker and Valkey of the local stack, started as the supervisor starts them."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from cli.main import app
from deploy.local import pidfile
from deploy.local.processes import backends
from deploy.local.settings import LocalSettings, child_environment
from deploy.local.supervisor import Supervisor
from services.chassis.errors import Fatal
from services.chassis.kafka.offsets import end_offsets, log_identity, topic_configs
from services.chassis.kafka.retention import assert_retained
from services.chassis.records import Decision
from services.chassis.redis.client import assert_durable, sync_client
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.topics import create_topics, load_topics

Start = Callable[..., Supervisor]


@pytest.fixture
def settings(tmp_path: Path, free_port: Callable[[], int]) -> LocalSettings:
    return LocalSettings(
        state_dir=tmp_path,
        kafka_bootstrap=f"127.0.0.1:{free_port()}",
        redis_url=f"redis://127.0.0.1:{free_port()}/0",
        clickhouse_url=f"http://127.0.0.1:{free_port()}",
    )


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the named backends under a supervisor; stops what still runs at the end."""
    started: list[Supervisor] = []

    def run(settings: LocalSettings, *names: str) -> Supervisor:
        specs = [spec for spec in backends(settings) if spec.name in names]
        started.append(Supervisor(settings, specs, child_environment(settings), print))
        started[-1].start()
        return started[-1]

    yield run
    for supervisor in started:
        supervisor.stop(drain=False)
        supervisor.close()


def test_the_broker_takes_our_topics_and_keeps_what_is_produced(start: Start, settings: LocalSettings) -> None:
    start(settings, "broker")
    topics = load_topics()
    assert set(create_topics(settings.kafka_bootstrap, topics.values(), 4)) == set(topics)
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap, "acks": "all", "enable.idempotence": True})
    for number in range(1_000):
        producer.produce("touchpoints", b"%d" % number, partition=number % 4)
    assert producer.flush(20) == 0
    assert {end_offsets(settings.kafka_bootstrap, ["touchpoints"])["touchpoints", p] for p in range(4)} == {250}
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "t", "auto.offset.reset": "error"})
    consumer.assign([TopicPartition("touchpoints", p, 0) for p in range(4)])
    seen = {message.value() for message in consumer.consume(1_000, 20)}
    consumer.close()
    assert len(seen) == 1_000


def test_the_broker_says_of_our_topics_what_they_were_made_with(start: Start, settings: LocalSettings) -> None:
    start(settings, "broker")
    topics = load_topics()
    create_topics(settings.kafka_bootstrap, topics.values(), 1)
    configs = topic_configs(settings.kafka_bootstrap, topics)
    assert set(configs) == set(topics)
    assert_retained(configs, settings.model_copy(update={"relaxed_durability": False}))
    longer = settings.model_copy(update={"least_retention_ms": topics["triggers"].retention_ms + 1})
    with pytest.raises(Fatal, match=r"triggers: retention.ms is 604800000, must be at least 604800001"):
        assert_retained(configs, longer)


def test_a_broker_started_again_has_another_identity(start: Start, settings: LocalSettings) -> None:
    identities = []
    for _ in range(2):
        supervisor = start(settings, "broker")
        create_topics(settings.kafka_bootstrap, [load_topics()["touchpoints"]], 4)
        identities.append(log_identity(settings.kafka_bootstrap, ["touchpoints"])[0])
        assert supervisor.stop(drain=False) is False
        supervisor.close()
    assert identities[0] != identities[1]


@pytest.mark.parametrize("mode", ["no", "everysec", "always"])
def test_valkey_is_as_durable_as_it_is_told(start: Start, settings: LocalSettings, mode: str) -> None:
    start(settings.model_copy(update={"appendfsync": mode}), "valkey")
    client = sync_client(settings.redis_url)
    assert bool(assert_durable(client, relaxed=True)) is (mode != "always")
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert client.config_get("bind") == {"bind": "127.0.0.1"}
    client.close()


def test_valkey_keeps_what_it_acknowledged_when_it_is_killed(start: Start, settings: LocalSettings) -> None:
    supervisor = start(settings, "valkey")
    client = redis.Redis.from_url(settings.redis_url)
    for number in range(500):
        client.set("n", number)
    member = supervisor.members[0]
    assert member.child is not None
    os.kill(member.child.pid, signal.SIGKILL)
    while member.restarts == 0 or member.state != "running":
        supervisor.tick()
    assert client.get("n") == b"499"
    client.close()


def test_pid_files_recognise_every_backend(start: Start, settings: LocalSettings) -> None:
    supervisor = start(settings, "broker", "valkey", "clickhouse")
    known = {started.name: started for started in pidfile.remembered(settings.run_dir)}
    assert set(known) == {"supervisor", "broker", "valkey", "clickhouse"}
    assert all(pidfile.is_running(started) for started in known.values())
    supervisor.stop(drain=False)
    assert not any(pidfile.is_running(started) for name, started in known.items() if name != "supervisor")


def test_an_operator_takes_a_partition_past_a_gap(
    start: Start, settings: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(settings, "broker", "valkey")
    create_topics(settings.kafka_bootstrap, [load_topics()["triggers"]], 1)
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap, "acks": "all", "enable.idempotence": True})
    for number in (1, 2, 5, 6):
        producer.produce("triggers", b"v", partition=0, headers={"seq": b"0:%d" % number})
    assert producer.flush(20) == 0
    cluster_id, topic_ids = log_identity(settings.kafka_bootstrap, ["triggers"])
    ledger = Ledger(sync_client(settings.redis_url))
    place = (Slot("archive.triggers", 0), "triggers", cluster_id, topic_ids["triggers"], 0)
    ledger.apply(ledger.claim(*place), Decision(), {"0": 2}, 2, 0)
    for name in ("kafka_bootstrap", "redis_url"):
        monkeypatch.setenv(f"TOUCHSTREAM_{name.upper()}", getattr(settings, name))
    command = ["rebase", "--service", "archive", "--topic", "triggers", "--partition", "0", "--to", "2"]
    asked = CliRunner().invoke(app, command, input="n\n")
    assert "numbers 3 to 4 of input partition 0 (2 records)" in asked.output
    assert (asked.exit_code, ledger.claim(*place).seen) == (1, {"0": 2})
    done = CliRunner().invoke(app, [*command, "--yes"])
    assert done.exit_code == 0, done.output
    claim = ledger.claim(*place)
    assert (claim.position, claim.seen) == (2, {"0": 4})
    again = CliRunner().invoke(app, [*command, "--yes"])
    assert (again.exit_code, "nothing is missing" in again.output) == (1, True)
