"""deploy/kafka: brokers that are killed, frozen and started again keep what they acknowledged, and say who leads."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from deploy.kafka.cluster import Cluster
from services.chassis.errors import Fatal
from services.chassis.kafka.brokers import in_sync, live_brokers
from services.chassis.kafka.offsets import log_identity
from services.chassis.testing.waiting import wait_for
from services.chassis.topics import create_topics, load_topics

pytestmark = pytest.mark.kafka
TOPIC = load_topics()["triggers"]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("three"), brokers=3) as cluster:
        create_topics(cluster.bootstrap, [TOPIC], partitions=3)
        yield cluster


def write(bootstrap: str, *values: bytes) -> None:
    """Write to partition 0 and have every record acknowledged."""
    failed: list[object] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "delivery.timeout.ms": 60_000, "log_level": 2}
    )
    for value in values:
        producer.produce(TOPIC.name, value, partition=0, on_delivery=lambda error, _: failed.append(error))
    assert producer.flush(60) == 0
    assert failed == [None] * len(values)


def values(bootstrap: str, count: int) -> list[bytes | None]:
    """The first so many records of partition 0."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "log_level": 2})
    reader.assign([TopicPartition(TOPIC.name, 0, 0)])
    found: list[bytes | None] = []

    def enough() -> bool:
        found.extend(message.value() for message in reader.consume(100, 0.2) if message.error() is None)
        return len(found) >= count

    try:
        wait_for(enough, f"{count} records of {bootstrap}")
    finally:
        reader.close()
    return found


def test_one_broker_keeps_records_topics_and_its_id_over_kill_9_and_a_new_start(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        create_topics(cluster.bootstrap, [TOPIC], partitions=1)
        before = log_identity(cluster.bootstrap, [TOPIC.name])
        write(cluster.bootstrap, b"1")
        cluster.kill(1)
        assert not cluster.is_running(1)
        assert cluster.controller == -1
        cluster.start_again(1)
        assert cluster.controller == 1
        write(cluster.bootstrap, b"2")
    with Cluster(tmp_path) as again:
        assert log_identity(again.bootstrap, [TOPIC.name]) == before
        assert values(again.bootstrap, 2) == [b"1", b"2"]
    with pytest.raises(Fatal, match=r"was made for 1 broker\(s\), not 3"):
        Cluster(tmp_path, brokers=3).start()


def test_a_topic_on_three_brokers_has_three_copies_and_a_dead_leader_is_replaced(three: Cluster) -> None:
    assert live_brokers(three.bootstrap) == {1, 2, 3}
    wait_for(lambda: in_sync(three.bootstrap, TOPIC.name, 0) == [1, 2, 3], "three copies")
    leader = three.leader_of(TOPIC.name, 0)
    three.kill(leader)
    write(three.bootstrap, b"without the leader")
    assert three.leader_of(TOPIC.name, 0) not in (-1, leader)
    three.start_again(leader)
    wait_for(lambda: in_sync(three.bootstrap, TOPIC.name, 0) == [1, 2, 3], "the dead one has caught up")
    assert b"without the leader" in values(three.bootstrap, 1)


def test_topics_with_fewer_copies_than_asked_for_are_refused(three: Cluster) -> None:
    assert create_topics(three.bootstrap, [TOPIC], partitions=3, replicas=3) == []
    lone = replace(TOPIC, name="lone")
    admin = AdminClient({"bootstrap.servers": three.bootstrap})
    (made,) = admin.create_topics([NewTopic("lone", num_partitions=3, replication_factor=1)]).values()
    made.result()
    with pytest.raises(Fatal, match=r"fewer than 3 copies: lone\..*TOUCHSTREAM_REPLICAS"):
        create_topics(three.bootstrap, [lone], partitions=3, replicas=3)


def test_a_frozen_controller_is_replaced_and_comes_back(three: Cluster) -> None:
    frozen = three.controller
    three.stop(frozen)
    others = [number for number in three.numbers if number != frozen]
    bootstrap = ",".join(f"127.0.0.1:{three.port(number)}" for number in others)
    write(bootstrap, b"without the controller")
    wait_for(lambda: live_brokers(bootstrap) == set(others), "the frozen one is taken for dead")
    three.cont(frozen)
    three.wait_ready(frozen)
    wait_for(lambda: live_brokers(bootstrap) == {1, 2, 3}, "it is back")


def test_what_was_acknowledged_survives_kill_9_of_all_three(three: Cluster) -> None:
    written = [f"all-{n}".encode() for n in range(20)]
    write(three.bootstrap, *written)
    for number in three.numbers:
        three.kill(number)
    for number in three.numbers:
        three.start_again(number, wait=False)
    for number in three.numbers:
        three.wait_ready(number)
    wait_for(lambda: three.leader_of(TOPIC.name, 0) > 0, "somebody leads")
    write(three.bootstrap, b"after")
    assert set(values(three.bootstrap, 20 + 1)) >= {*written}


def test_a_link_gets_a_listener_that_tells_its_clients_the_ports_of_the_proxy(tmp_path: Path) -> None:
    with Cluster(tmp_path, links={"identity-1": {1: 45_001}}) as cluster:
        reader = Consumer({"bootstrap.servers": f"127.0.0.1:{cluster.link_port('identity-1', 1)}", "group.id": "test"})
        told = reader.list_topics(timeout=10).brokers[1]
        reader.close()
        assert f"{told.host}:{told.port}" == cluster.link_bootstrap("identity-1") == "127.0.0.1:45001"
        assert cluster.link_port("identity-1", 1) not in (cluster.port(1), 45_001)
