"""A full disk: refused with an error, nothing that was answered is lost, and all goes on once there is space."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Message
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from deploy.kafka.cluster import Cluster
from services.chassis.errors import Retriable
from services.chassis.kafka import client as kafka_client
from services.chassis.kafka.offsets import read_on
from services.chassis.redis.client import sync_client
from services.chassis.testing.waiting import wait_for
from tests.chaos.rig.local_valkey import Valkey
from tests.chaos.rig.script_writer import writers
from tests.chaos.rig.volume import Volume
from tests.integration import archive_backends

# More than the backend needs for itself, little enough to be filled at once.
VALKEY_BYTES, CLICKHOUSE_BYTES, KAFKA_BYTES = 8 << 20, 256 << 20, 256 << 20
# Inserts: the first of them may still find a corner.
MANY = 20
Mount = Callable[[str, int], Volume]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Makes a folder of the test's a disk of its own."""
    mounted: list[Volume] = []

    def volume(folder: str, size_bytes: int) -> Volume:
        mounted.append(Volume(tmp_path / folder, size_bytes))
        mounted[-1].open()
        return mounted[-1]

    yield volume
    for each in mounted:
        each.close()


def test_valkey_on_a_full_disk_refuses_and_keeps_what_it_answered(tmp_path: Path, mount: Mount) -> None:
    disk = mount("valkey", VALKEY_BYTES)
    server = Valkey(tmp_path)
    server.start()
    with writers(server.port) as threads:
        disk.fill()
    # With `always` it cannot take back what it has executed and not written: it ends instead, having answered nobody.
    wait_for(lambda: not server.is_running(), "Valkey ends on a full disk")
    assert "Can't recover from AOF write error" in server.log.read_text()
    disk.free()
    server.start()
    with sync_client(server.url) as client:
        for thread in threads:
            thread.check(client)
    with writers(server.port, first=10):
        server.kill()


def test_clickhouse_on_a_full_disk_refuses_and_takes_the_same_insert_later(tmp_path: Path, mount: Mount) -> None:
    settings = archive_backends.settings_of(tmp_path)
    disk = mount("clickhouse", CLICKHOUSE_BYTES)
    with archive_backends.clickhouse(settings) as url, archive_backends.database(url, "full") as server:

        def insert(number: int) -> None:
            names = [f"e{number}.{row}" for row in range(100)]
            moments = [1_750_000_000_000] * len(names)
            server.insert("events_raw", ["event_id", "occurred_at", "log_at"], [names, moments, moments], str(number))

        def insert_all(first: int) -> None:
            for number in range(first, MANY):
                insert(number)

        insert(0)
        disk.fill()
        with pytest.raises(Retriable, match="insert into 'events_raw' failed"):
            insert_all(1)
        disk.free()
        insert_all(0)  # what was answered and what was not, all under their tokens
        counted = server.query_rows("SELECT count() AS rows, uniqExact(event_id) AS names FROM events_raw")
        assert counted == [{"rows": 100 * MANY, "names": 100 * MANY}]


@pytest.mark.kafka
def test_kafka_on_a_full_disk_refuses_and_keeps_what_it_acknowledged(tmp_path: Path, mount: Mount) -> None:
    disk = mount("kafka", KAFKA_BYTES)
    with Cluster(tmp_path / "kafka") as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        (created,) = admin.create_topics([NewTopic("t", 1)]).values()
        created.result(30)
        producer = kafka_client.producer(cluster.bootstrap, "test", report_all=True)
        acknowledged: list[bytes] = []

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is None:
                acknowledged.append(message.value() or b"")

        def send(first: int, count: int) -> None:
            for number in range(first, first + count):
                producer.produce("t", b"%d " % number + os.urandom(4_000), partition=0, on_delivery=on_delivery)

        def has_ended() -> bool:
            producer.poll(0.1)
            return not cluster.is_running(1)

        send(0, 500)
        assert producer.flush(30) == 0
        disk.fill()
        send(500, 2_000)
        wait_for(has_ended, "the broker ends on a full disk", 60)
        assert len(acknowledged) < 2_500
        disk.free()
        cluster.start_again(1)
        assert producer.flush(60) == 0
        stored = [record.value for record in read_on(cluster.bootstrap, "t", 0, 0)]
        assert [int(value.split()[0]) for value in stored if value] == list(range(2_500))
        assert stored == acknowledged
