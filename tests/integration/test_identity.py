"""identity on a real broker and a real Valkey: touchpoints in, customers' logs out."""

import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.local.settings import ROOT, LocalSettings
from services.chassis.avro import Codec
from services.chassis.ids import node_of, partition_of
from services.chassis.kafka.client import to_record
from services.chassis.kafka.offsets import end_offsets
from services.chassis.records import Record
from services.chassis.redis.inspect import ledgers
from services.chassis.testing.waiting import free_port, wait_for
from services.identity.adapters import Lookup, load_policy

KEY = b"touchstream-local"
PARTITIONS = 4
Start = Callable[..., "subprocess.Popen[bytes]"]


class Shop:
    """Publishes touchpoints and reads what identity makes of them, from the moment it was made."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
        self.codec = Codec("touchpoint")
        self.starts = end_offsets(bootstrap, ["touchpoints.resolved", "identity.changes"])

    def send(self, *identifiers: str, event_id: str = "", kind: str = "track") -> None:
        """One touchpoint; give it its message id to make it a duplicate."""
        value = self.codec.encode(
            {
                "event_id": event_id or uuid.uuid4().hex, "source": "shop", "type": kind, "name": "Visited",
                "identifiers": list(identifiers), "occurred_at": 1, "received_at": 1,
            }
        )  # fmt: skip
        self.raw(node_of(identifiers[0], KEY).encode(), value)

    def raw(self, key: bytes, value: bytes) -> None:
        """Any bytes."""
        self.producer.produce("touchpoints", value, key, partition=partition_of(key, PARTITIONS))

    def read(self, topic: str) -> list[Record]:
        """Every record of the topic since the shop opened, by partition and offset."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "test", "enable.auto.commit": False})
        ends = end_offsets(self.bootstrap, [topic])
        left = {p: end for (_, p), end in ends.items() if end > self.starts[topic, p]}
        consumer.assign([TopicPartition(topic, p, self.starts[topic, p]) for p in left])
        records: list[Record] = []
        while left:
            for message in consumer.consume(500, 0.2):
                assert message.error() is None
                records.append(to_record(message))
                if records[-1].offset + 1 >= left.get(records[-1].partition, 0):
                    left.pop(records[-1].partition, None)
        consumer.close()
        return sorted(records, key=lambda r: (r.partition, r.offset))

    def logs(self) -> dict[str, list[int]]:
        """Customer → the numbers of its log, in the order read, repeated sequence numbers left out."""
        seen: set[tuple[int, bytes]] = set()
        found: dict[str, list[int]] = {}
        for record in self.read("touchpoints.resolved"):
            if (record.partition, record.headers["seq"]) not in seen:
                seen.add((record.partition, record.headers["seq"]))
                found.setdefault(record.key.decode(), []).append(int(record.headers["n"]))
        return found


@pytest.fixture
def start(kafka: str, redis_client: "redis.Redis", redis_url: str, backend_settings: LocalSettings) -> Iterator[Start]:
    """A function that starts identity with more environment; all are killed at the end."""
    started: list[subprocess.Popen[bytes]] = []
    assert len(end_offsets(kafka, ["touchpoints"])) == PARTITIONS

    def run(**env: str) -> "subprocess.Popen[bytes]":
        own = {
            "TOUCHSTREAM_KAFKA_BOOTSTRAP": kafka,
            "TOUCHSTREAM_REDIS_URL": redis_url,
            "TOUCHSTREAM_PARTITIONS": str(PARTITIONS),
            "TOUCHSTREAM_KAFKA_SESSION_TIMEOUT_MS": "3000",
            "TOUCHSTREAM_IDENTITY_METRICS_PORT": str(free_port()),
            **env,
        }
        process = subprocess.Popen([sys.executable, "-m", "services.identity"], env={**os.environ, **own}, cwd=ROOT)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def position(client: "redis.Redis") -> int:
    """How many touchpoints identity has worked off, and sent on."""
    found = [ledger for ledger in ledgers(client) if ledger.service == "identity"]
    return sum(ledger.position for ledger in found) if not any(ledger.outbox for ledger in found) else -1


def wait_until_worked_off(client: "redis.Redis", bootstrap: str) -> None:
    """Until identity stands at the end of the log, which nobody writes to meanwhile, with an empty outbox."""
    end = sum(end_offsets(bootstrap, ["touchpoints"]).values())
    wait_for(lambda: position(client) == end, "identity works off all touchpoints", 40)


def changes(shop: Shop) -> list[dict[str, Any]]:
    """identity.changes since the shop opened, in the order in which the graph decided."""
    codec = Codec("identity_change")
    return sorted((codec.decode(r.value) for r in shop.read("identity.changes")), key=lambda c: int(c["g"]))


def test_events_links_merges_and_duplicates(
    start: Start, kafka: str, redis_client: "redis.Redis", redis_url: str
) -> None:
    shop = Shop(kafka)
    start()
    shop.send("anonymous_id:a1")
    shop.send("anonymous_id:a2")
    shop.producer.flush()
    wait_until_worked_off(redis_client, kafka)
    shop.send("user_id:u1", "anonymous_id:a1", event_id="m1")
    shop.producer.flush()
    wait_until_worked_off(redis_client, kafka)
    shop.send("user_id:u1", "anonymous_id:a2", event_id="m2")
    shop.send("user_id:u1", "anonymous_id:a2", event_id="m2")
    shop.raw(b"x", b"\x00not avro")
    shop.producer.flush()
    wait_until_worked_off(redis_client, kafka)
    lookup = Lookup(redis_url, load_policy("deploy/config/identity.yaml"), KEY)
    found = lookup.customers_of(["user_id:u1", "anonymous_id:a1", "anonymous_id:a2", "anonymous_id:none"])
    assert found[0] is not None
    assert found == [found[0], found[0], found[0], None]
    logs = shop.logs()
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in logs.values())
    assert sorted(map(len, logs.values())) in ([2, 4], [3, 3])  # whichever of a1 and a2 was born first survives
    merged = [change for change in changes(shop) if change["kind"] == "merged"]
    assert len(merged) == 1
    assert set(merged[0]["nodes"]) == {node_of(i, KEY) for i in ("user_id:u1", "anonymous_id:a1", "anonymous_id:a2")}
    assert len(shop.read("touchpoints.resolved")) == 6


@pytest.mark.parametrize("point", ["before_apply", "after_apply", "before_relay", "after_relay"])
def test_kill_at_every_step_loses_and_doubles_nothing(
    point: str, start: Start, kafka: str, redis_client: "redis.Redis"
) -> None:
    shop = Shop(kafka)
    victim = start(TOUCHSTREAM_FAILPOINTS=f"identity.{point}=kill@2")
    for i in range(300):
        shop.send(f"user_id:{point}{i % 40}", f"anonymous_id:{point}{i % 77}")
        if i % 60 == 59:
            shop.producer.flush()
            sent = i + 1
            wait_for(lambda n=sent: victim.poll() is not None or position(redis_client) >= n, "progress or death")
    shop.producer.flush()
    wait_for(lambda: victim.poll() is not None, "the failpoint is hit")
    assert victim.returncode == -signal.SIGKILL
    start()
    wait_until_worked_off(redis_client, kafka)
    logs = shop.logs()
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in logs.values())
    kinds = Counter(record.headers["kind"] for record in unique(shop.read("touchpoints.resolved")))
    assert kinds[b"event"] == 300
    assert kinds[b"give"] == kinds[b"take"] == sum(change["kind"] == "merged" for change in unique_changes(shop))


def unique(records: list[Record]) -> list[Record]:
    """Records without those whose sequence number came before."""
    return list({(r.partition, r.headers["seq"]): r for r in reversed(records)}.values())


def unique_changes(shop: Shop) -> list[dict[str, Any]]:
    """identity.changes without repetitions of one g."""
    return list({change["g"]: change for change in changes(shop)}.values())
