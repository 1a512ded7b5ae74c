"""rules on a real broker and a real Valkey: profile changes in, triggers out, through crashes and new rule files."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.local.settings import ROOT, LocalSettings
from services.chassis.avro import Codec
from services.chassis.ids import partition_of, stable_id
from services.chassis.kafka.client import to_record
from services.chassis.kafka.offsets import end_offsets
from services.chassis.records import Record
from services.chassis.redis.inspect import ledgers
from services.chassis.testing.waiting import free_port, wait_for

PARTITIONS = 4
THEN = "then: [{email: {template: t}}]"
Start = Callable[..., "subprocess.Popen[bytes]"]


class Profile:
    """Publishes profile changes as the profile service does, and reads what rules makes of them."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
        self.change, self.trigger = Codec("profile_change"), Codec("trigger")
        self.count = 0

    def event(self, customer: str, name: str, **fields: Any) -> str:
        """One event of a customer; its place."""
        self.count += 1
        place = f"0.0.{self.count}"
        self.send("event", customer, f"{name}\x1f", cause=place, name=name, **fields)
        return place

    def send(self, kind: str, customer: str, when: str, **fields: Any) -> None:
        """Any change."""
        stated = {"customer_id": customer, "kind": kind, "occurred_at": 1, "accepted_at": 1, "changed_at": 1, **fields}
        self.raw(customer.encode(), self.change.encode(stated), {"when": when.encode()})

    def raw(self, key: bytes, value: bytes, headers: dict[str, bytes]) -> None:
        """Any bytes."""
        partition = partition_of(key, PARTITIONS)
        self.producer.produce("profile.changes", value, key, partition=partition, headers=headers)

    def triggers(self) -> list[dict[str, Any]]:
        """Every trigger once, whatever was sent again after a crash; a number must never carry two contents."""
        found: dict[tuple[int, bytes], bytes] = {}
        for record in self.read("triggers"):
            known = found.setdefault((record.partition, record.headers["seq"]), record.value or b"")
            assert known == record.value
        return [self.trigger.decode(value) for value in found.values()]

    def read(self, topic: str) -> list[Record]:
        """Every record of the topic."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "test", "enable.auto.commit": False})
        left = {p: end for (_, p), end in end_offsets(self.bootstrap, [topic]).items() if end}
        consumer.assign([TopicPartition(topic, p, 0) for p in left])
        records: list[Record] = []
        while left:
            for message in consumer.consume(500, 0.2):
                assert message.error() is None
                records.append(to_record(message))
                if records[-1].offset + 1 >= left.get(records[-1].partition, 0):
                    left.pop(records[-1].partition, None)
        consumer.close()
        return records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two rules."""
    path = tmp_path / "rules"
    path.mkdir()
    (path / "hello.yaml").write_text(f"rule: hello\nversion: 1\nwhen: {{event: Registered}}\n{THEN}\n")
    (path / "once.yaml").write_text(
        f"rule: once\nversion: 1\nwhen: {{event: Bought}}\nlimits: {{once_per_customer: true}}\n{THEN}\n"
    )
    return path


@pytest.fixture
def start(
    kafka: str, redis_client: "redis.Redis", redis_url: str, folder: Path, backend_settings: LocalSettings
) -> Iterator[Start]:
    """A function that starts rules with more environment; all are killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(**env: str) -> "subprocess.Popen[bytes]":
        own = {
            "TOUCHSTREAM_KAFKA_BOOTSTRAP": kafka,
            "TOUCHSTREAM_REDIS_URL": redis_url,
            "TOUCHSTREAM_PARTITIONS": str(PARTITIONS),
            "TOUCHSTREAM_KAFKA_SESSION_TIMEOUT_MS": "3000",
            "TOUCHSTREAM_RULES_METRICS_PORT": str(free_port()),
            "TOUCHSTREAM_RULES_FOLDER": str(folder),
            "TOUCHSTREAM_RULES_RELOAD_INTERVAL_MS": "50",
            **env,
        }
        process = subprocess.Popen([sys.executable, "-m", "services.rules"], env={**os.environ, **own}, cwd=ROOT)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def position(client: "redis.Redis") -> int:
    """How many changes rules has worked off, and sent on; -1 while something is unsent."""
    found = [ledger for ledger in ledgers(client) if ledger.service == "rules"]
    return sum(ledger.position for ledger in found) if not any(ledger.outbox for ledger in found) else -1


def worked_off(profile: Profile, client: "redis.Redis") -> None:
    """Until rules stands at the end of the log with an empty outbox."""
    profile.producer.flush()
    end = sum(end_offsets(profile.bootstrap, ["profile.changes"]).values())
    wait_for(lambda: position(client) == end, "rules works off all changes", 40)


def test_events_hand_overs_and_garbage(start: Start, kafka: str, redis_client: "redis.Redis") -> None:
    profile = Profile(kafka)
    start()
    bought, hello = profile.event("anna", "Bought"), profile.event("anna", "Registered")
    profile.event("anna", "Page Viewed")
    profile.raw(b"x", b"\x00not avro", {"when": b"Registered\x1f"})
    profile.send("took", "bert", "\x1fh", handoff_id="0.0.9.0", from_id="anna", cause="0.0.9.0")
    profile.event("bert", "Bought")
    late = profile.event("bert", "Registered")
    worked_off(profile, redis_client)
    assert {t["anchor"] for t in profile.triggers()} == {bought, hello}, "bert waits for what anna gives"
    piece = {"handoff_id": "0.0.9.0", "to_id": "bert", "nodes": []}
    profile.send("gave", "anna", "\x1fh", pieces=[piece], cause="0.0.9.0")
    worked_off(profile, redis_client)
    wait_for(lambda: len(profile.triggers()) == 3, "bert goes on", every_s=0.3)
    assert {t["anchor"]: t["trigger_id"] for t in profile.triggers()} == {
        bought: stable_id("once", "1", bought),
        hello: stable_id("hello", "1", hello),
        late: stable_id("hello", "1", late),
    }
    worked_off(profile, redis_client)
    wait_for(lambda: list(redis_client.keys("*:give:*")) == [], "the hand-over is deleted")
    assert len(profile.read("rules.dead")) == 1


def test_new_rules_come_into_force_and_bad_ones_do_not(
    start: Start, kafka: str, redis_client: "redis.Redis", folder: Path
) -> None:
    profile, port = Profile(kafka), free_port()
    start(TOUCHSTREAM_RULES_METRICS_PORT=str(port))

    def metrics() -> str:
        return httpx.get(f"http://127.0.0.1:{port}/metrics").text

    profile.event("anna", "Registered")
    worked_off(profile, redis_client)
    (folder / "bad.yaml").write_text("rule: bad")
    (folder / "hello.yaml").write_text(f"rule: salute\nversion: 2\nwhen: {{event: Registered}}\n{THEN}\n")
    wait_for(lambda: "touchstream_rules_folder_refused 1.0" in metrics(), "the bad version is refused")
    ready = httpx.get(f"http://127.0.0.1:{port}/readyz")
    assert ready.status_code == 200
    assert "bad.yaml:1:1: found a rule without" in ready.json()["components"]["rules folder"]["detail"]
    profile.event("anna", "Registered")
    worked_off(profile, redis_client)
    (folder / "bad.yaml").unlink()
    wait_for(lambda: "touchstream_rules_folder_refused 0.0" in metrics(), "the good version is in force")
    profile.event("anna", "Registered")
    worked_off(profile, redis_client)
    fired = sorted(profile.triggers(), key=lambda t: int(t["anchor"].rpartition(".")[2]))
    assert [(t["rule"], t["rule_version"]) for t in fired] == [("hello", "1"), ("hello", "1"), ("salute", "2")]


@pytest.mark.parametrize("point", ["before_apply", "after_apply", "before_relay", "after_relay"])
def test_kill_at_every_step_loses_and_doubles_nothing(
    point: str, start: Start, kafka: str, redis_client: "redis.Redis"
) -> None:
    profile = Profile(kafka)
    victim = start(TOUCHSTREAM_FAILPOINTS=f"rules.{point}=kill@3")
    hellos = []
    for i in range(200):
        profile.event(f"c{i % 30}", "Bought")
        hellos.append(profile.event(f"c{i % 30}", "Registered"))
        if i % 10 == 9:  # merges: what one has fired counts for the other
            giver, taker, handoff = f"g{i}", f"c{i % 30}", f"9.0.{i}.0"
            profile.event(giver, "Bought")
            profile.send("took", taker, "\x1fh", handoff_id=handoff, from_id=giver, cause=handoff)
            piece = {"handoff_id": handoff, "to_id": taker, "nodes": []}
            profile.send("gave", giver, "\x1fh", pieces=[piece], cause=handoff)
        if i % 40 == 39:
            profile.producer.flush()
            sent = profile.count
            wait_for(lambda n=sent: victim.poll() is not None or position(redis_client) >= n, "progress or death")
    profile.producer.flush()
    wait_for(lambda: victim.poll() is not None, "the failpoint is hit")
    assert victim.returncode == -signal.SIGKILL
    start()
    worked_off(profile, redis_client)
    fired = profile.triggers()
    assert Counter(t["anchor"] for t in fired if t["rule"] == "hello") == Counter(hellos)
    assert Counter(t["customer_id"] for t in fired if t["rule"] == "once") == Counter(
        [*(f"c{i}" for i in range(30)), *(f"g{i}" for i in range(9, 200, 10))]
    )
    assert redis_client.keys("*:give:*") == []
