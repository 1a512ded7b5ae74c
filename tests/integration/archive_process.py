"""archive as a process, the log it reads, and what says that it has caught up; for tests on real backends."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import redis
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from deploy.local.settings import ROOT
from services.chassis.avro import Codec
from services.chassis.clickhouse import Clickhouse
from services.chassis.kafka.offsets import end_offsets
from services.chassis.testing.waiting import wait_for
from services.profile.archive.core.rows import FEEDS

PARTITIONS = 2
GONE = (KafkaError.GROUP_ID_NOT_FOUND,)
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

    def forget_group(self) -> None:
        """The next test begins anew with an empty Redis, which archive refuses while its group says it was further."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})

        def forgotten() -> bool:
            (future,) = admin.delete_consumer_groups(["touchstream-archive"], request_timeout=10).values()
            # A member that was killed is one until its session ends.
            return not isinstance(error := future.exception(), KafkaException) or error.args[0].code() in GONE

        wait_for(forgotten, "the group is forgotten")

    def ends(self) -> dict[tuple[str, int], int]:
        return self._ends


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
