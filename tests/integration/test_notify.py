"""notify on a real broker and a real Valkey: triggers in, signed webhooks out, also over crashes and restarts."""

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from standardwebhooks.webhooks import Webhook

from deploy.local.settings import ROOT, LocalSettings
from services.chassis.avro import Codec
from services.chassis.clock import now_ms
from services.chassis.ids import partition_of, stable_id
from services.chassis.kafka.client import to_record
from services.chassis.kafka.offsets import end_offsets
from services.chassis.records import Record
from services.chassis.testing.waiting import free_port, wait_for

PARTITIONS = 4
# Generous: importing Faust, joining a group and a dead member's session take 15 s on a machine that is busy elsewhere.
DEADLINE_S = 90
SECRET = "whsec_" + "dG91Y2hzdHJlYW0tdGVzdC1zZWNyZXQ="
Start = Callable[..., "Process"]


class Receiver:
    """An HTTP endpoint that verifies every signature with the library and remembers the ids it was sent."""

    def __init__(self, port: int = 0) -> None:
        self.ids: list[str] = []
        self.bodies: dict[str, set[bytes]] = {}
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/signed":
                    Webhook(SECRET).verify(body, dict(self.headers.items()))
                receiver.ids.append(self.headers.get("webhook-id", ""))
                receiver.bodies.setdefault(receiver.ids[-1], set()).add(body)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/signed"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Process:
    """A running notify and its ports."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        self.metrics_port, self.sink_port, self.log = free_port(), free_port(), log
        own = {
            "TOUCHSTREAM_NOTIFY_METRICS_PORT": str(self.metrics_port),
            "TOUCHSTREAM_NOTIFY_SINK_PORT": str(self.sink_port),
            **env,
        }
        with log.open("ab") as out:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "services.notify"], env={**os.environ, **own}, cwd=ROOT, stdout=out, stderr=out
            )

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.metrics_port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self) -> "Process":
        wait_for(self.is_ready, f"notify is ready (log {self.log})", DEADLINE_S)
        return self

    def metric(self, line: str) -> float:
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        return sum(float(row.rsplit(" ", 1)[1]) for row in text.splitlines() if row.startswith(line))

    def stop(self, sig: int = signal.SIGTERM) -> int:
        self.child.send_signal(sig)
        return self.child.wait(DEADLINE_S)


class Rules:
    """Publishes triggers as the rules service does, and reads what notify writes, from the moment it was made."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
        self.codec, self.delivery = Codec("trigger"), Codec("delivery")
        self.starts = end_offsets(bootstrap, ["triggers", "deliveries", "notify.dead"])
        self.numbers: Counter[int] = Counter()

    def fire(self, destination: str, customer: str = "", times: int = 1) -> str:
        """One trigger with one webhook action, perhaps written several times; returns its delivery id."""
        customer, trigger_id = customer or str(uuid.uuid4()), uuid.uuid4().hex
        now = now_ms()
        action = {"channel": "webhook", "destination": destination, "template": "welcome", "params": {}}
        value = self.codec.encode(
            {
                "trigger_id": trigger_id, "rule": "welcome", "rule_version": "1", "customer_id": customer,
                "anchor": "e", "cause": "1.0.0", "name": "Registered", "fired_at": now, "accepted_at": now,
                "actions": json.dumps([action]).encode(), "profile": b'{"traits": {"name": "Lena"}}',
            }
        )  # fmt: skip
        for _ in range(times):
            self.raw(customer.encode(), value)
        return stable_id(trigger_id, "0")

    def raw(self, key: bytes, value: bytes) -> None:
        partition = partition_of(key, PARTITIONS)
        self.numbers[partition] += 1
        headers: list[tuple[str, str | bytes | None]] = [("seq", b"7:%d" % self.numbers[partition])]
        self.producer.produce("triggers", value, key, partition=partition, headers=headers)
        self.producer.flush()

    def read(self, topic: str) -> list[Record]:
        ends = end_offsets(self.bootstrap, [topic])
        left = {p: end for (_, p), end in ends.items() if end > self.starts[topic, p]}
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "test", "enable.auto.commit": False})
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

    def deliveries(self) -> list[dict[str, Any]]:
        """Records of `deliveries` as their readers take them: repeated numbers dropped, nothing behind a hole.

        Tansu may show a record before one with a lower offset when two producers append at once (two replicas during a
        rebalance; Kafka does not), so a hole may close; the caller waits until everything is there.
        """
        last: Counter[int] = Counter()
        taken = []
        for record in self.read("deliveries"):
            source, number = record.headers["seq"].decode().split(":")
            assert int(source) == record.partition == partition_of(record.key, PARTITIONS)
            if int(number) == last[record.partition] + 1:
                last[record.partition] += 1
                taken.append(self.delivery.decode(record.value))
        return taken


@pytest.fixture
def rules(kafka: str) -> Rules:
    return Rules(kafka)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def start(
    kafka: str, redis_client: "redis.Redis", redis_url: str, backend_settings: LocalSettings, tmp_path: Path
) -> Iterator[Start]:
    """A function that starts notify with destinations and more environment; all are killed at the end."""
    started: list[Process] = []

    def run(destinations: dict[str, dict[str, Any]], **env: str) -> Process:
        file = tmp_path / "destinations.yaml"
        file.write_text(yaml.safe_dump({"language": "en", "destinations": destinations}))
        own = {
            "TOUCHSTREAM_KAFKA_BOOTSTRAP": kafka,
            "TOUCHSTREAM_REDIS_URL": redis_url,
            "TOUCHSTREAM_PARTITIONS": str(PARTITIONS),
            "TOUCHSTREAM_KAFKA_SESSION_TIMEOUT_MS": "6000",
            "TOUCHSTREAM_NOTIFY_DESTINATIONS": str(file),
            "TOUCHSTREAM_NOTIFY_LEASE_MARGIN_S": "1",
            "WEBHOOK_SECRET": SECRET,
            **env,
        }
        started.append(Process(own, tmp_path / f"notify{len(started)}.log"))
        return started[-1]

    yield run
    for process in started:
        process.child.kill()
        process.child.wait()


def webhook(url: str, **more: Any) -> dict[str, Any]:
    return {"channel": "webhook", "url": url, "secret": "env:WEBHOOK_SECRET", "timeout_s": 2, **more}


def test_triggers_are_delivered_once_and_a_dead_destination_slows_no_other_and_is_retried_after_a_restart(
    start: Start, rules: Rules, receiver: Receiver
) -> None:
    dead_port = free_port()
    destinations = {
        "dead": webhook(f"http://127.0.0.1:{dead_port}/signed", retry={"first_s": 0.2, "longest_s": 0.5}),
        "crm": webhook(receiver.url),
    }
    process = start(destinations).wait_ready()
    dead = [rules.fire("dead") for _ in range(30)]
    alive = [rules.fire("crm", times=2) for _ in range(30)]
    rules.raw(b"somebody", b"\x00not avro")
    alive.append(rules.fire("crm", customer="somebody"))
    wait_for(lambda: set(alive) == set(receiver.ids), "everything for the living destination has arrived", DEADLINE_S)
    wait_for(lambda: process.metric("touchstream_notify_records_total") == 61, "all triggers are accepted", DEADLINE_S)
    assert Counter(receiver.ids) == Counter(alive)
    assert process.metric("touchstream_notify_duplicates_dropped_total") == 30
    assert process.metric("touchstream_notify_gaps_total") == 0
    (letter,) = [Codec("dead_letter").decode(r.value) for r in rules.read("notify.dead")]
    assert (letter["service"], letter["topic"], letter["value"]) == ("notify", "triggers", b"\x00not avro")
    assert process.stop() == 0

    revived = Receiver(dead_port)
    start(destinations)
    wait_for(lambda: set(dead) == set(revived.ids), "the restart goes on with the retries", DEADLINE_S)
    wait_for(lambda: len(rules.deliveries()) == 61, "every trigger has its delivery", DEADLINE_S, 0.3)
    assert Counter(revived.ids) == Counter(dead)
    assert Counter(r["delivery_id"] for r in rules.deliveries()) == Counter(dead + alive)
    assert {r["status"] for r in rules.deliveries()} == {"delivered"}
    revived.close()


def test_crashes_after_acceptance_and_after_produce_repeat_the_same_message_and_the_same_record(
    start: Start, rules: Rules, receiver: Receiver
) -> None:
    destinations = {"crm": webhook(receiver.url)}
    process = start(destinations, TOUCHSTREAM_FAILPOINTS="notify.after_send=kill")
    wanted = rules.fire("crm")
    assert process.child.wait(DEADLINE_S) == -signal.SIGKILL
    assert receiver.ids == [wanted]

    process = start(destinations, TOUCHSTREAM_FAILPOINTS="notify.after_produce=kill")
    assert process.child.wait(DEADLINE_S) == -signal.SIGKILL
    assert receiver.ids == [wanted, wanted]
    assert len(receiver.bodies[wanted]) == 1

    start(destinations)
    wait_for(lambda: len(rules.read("deliveries")) == 2, "the record is produced again", DEADLINE_S, 0.3)
    assert len({r.headers["seq"] for r in rules.read("deliveries")}) == 1
    (record,) = rules.deliveries()
    assert (record["delivery_id"], record["status"], record["attempts"]) == (wanted, "delivered", 2)
    assert receiver.ids == [wanted, wanted]


def test_two_replicas_share_the_work_and_send_nothing_twice_over_a_rebalance(
    start: Start, rules: Rules, receiver: Receiver
) -> None:
    destinations = {"crm": webhook(receiver.url, concurrency=4)}
    first = start(destinations).wait_ready()
    wanted = [rules.fire("crm") for _ in range(50)]
    second = start(destinations)
    wanted += [rules.fire("crm") for _ in range(150)]
    wait_for(second.is_ready, "the second replica has partitions", DEADLINE_S)
    wanted += [rules.fire("crm") for _ in range(50)]
    assert first.stop() == 0
    wanted += [rules.fire("crm") for _ in range(50)]
    wait_for(lambda: len(rules.deliveries()) == 300, "three hundred deliveries", DEADLINE_S, 0.3)
    assert Counter(receiver.ids) == Counter(wanted)
    assert Counter(r["delivery_id"] for r in rules.deliveries()) == Counter(wanted)


def test_test_mode_sends_everything_to_the_sink_which_shows_it_over_http(start: Start, rules: Rules) -> None:
    process = start({}, TOUCHSTREAM_NOTIFY_DESTINATIONS=str(ROOT / "deploy/config/destinations.yaml"))
    wanted = {rules.fire("") for _ in range(5)}
    base = f"http://127.0.0.1:{process.sink_port}/sink"

    def shown() -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in httpx.get(f"{base}?after=0").text.splitlines()]
        except httpx.TransportError:
            return []

    wait_for(lambda: len(shown()) == 5, "five deliveries in the sink", DEADLINE_S)
    assert {item["delivery_id"] for item in shown()} == wanted
    assert {(item["channel"], item["destination"], item["rule"]) for item in shown()} == {("webhook", "crm", "welcome")}
    assert httpx.get(f"{base}/counts").json()["by_channel"] == {"webhook": 5}
    wait_for(lambda: process.metric("touchstream_notify_end_to_end_seconds_count") == 5, "measured", DEADLINE_S)
