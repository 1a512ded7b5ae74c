"""Ingest and broker as processes of a test's own, and what lies in the topics."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Consumer, TopicPartition

from deploy.local.settings import ROOT, local_settings
from services.chassis.avro import Codec
from services.chassis.kafka.offsets import end_offsets
from services.chassis.testing.waiting import free_port, wait_for
from tests.backends import chosen, running_broker

PARTITIONS = 4
READ_DEADLINE_S = 20.0


@dataclass
class IngestProcess:
    """A running `python -m services.ingest`."""

    process: "subprocess.Popen[bytes]"
    url: str
    ops_url: str
    log: Path

    def is_ready(self) -> bool:
        """True once it accepts events."""
        try:
            return httpx.get(f"{self.ops_url}/readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def ingest_process(bootstrap: str, folder: Path, waits: bool = True, **variables: str) -> Iterator[IngestProcess]:
    """Start ingest; variables are settings without prefix (ACK_TIMEOUT_MS="500"). Ends it whatever happens."""
    port, ops_port = free_port(), free_port()
    env = {
        **os.environ,
        "TOUCHSTREAM_KAFKA_BOOTSTRAP": bootstrap,
        "TOUCHSTREAM_PARTITIONS": str(PARTITIONS),
        "TOUCHSTREAM_INGEST_PORT": str(port),
        "TOUCHSTREAM_INGEST_METRICS_PORT": str(ops_port),
        "TOUCHSTREAM_INGEST_WRITE_KEYS": str(ROOT / "deploy/config/write_keys.yaml"),
        **{f"TOUCHSTREAM_{name if name == 'PARTITIONS' else 'INGEST_' + name}": v for name, v in variables.items()},
    }
    log = folder / f"ingest-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "services.ingest"], env=env, stdout=out, stderr=out, cwd=ROOT)
    running = IngestProcess(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{ops_port}", log)
    try:
        if waits:
            wait_for(lambda: running.is_ready() or process.poll() is not None, "ingest is ready")
            assert process.poll() is None, log.read_text()
        yield running
    finally:
        process.kill()
        process.wait()


@contextmanager
def broker_process(folder: Path, port: int = 0) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A broker with every topic: (bootstrap, process), for tests that stop it."""
    own = {"TOUCHSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{port or free_port()}"}
    settings = local_settings(chosen() | own | {"TOUCHSTREAM_LOCAL_STATE_DIR": str(folder / "own-broker")})
    with running_broker(settings, PARTITIONS) as process:
        yield settings.kafka_bootstrap, process


def pause(process: "subprocess.Popen[bytes]") -> None:
    """Stop a process where it stands; returns when every thread does."""
    process.send_signal(signal.SIGSTOP)
    tasks = Path(f"/proc/{process.pid}/task")
    wait_for(
        lambda: all((task / "stat").read_text().rpartition(") ")[2].startswith("T") for task in tasks.iterdir()),
        "the process stands still",
    )


def read_topic(bootstrap: str, topic: str, record: str) -> list[dict[str, Any]]:
    """Every record of a topic up to its present end, decoded; `key` and `partition` beside the fields."""
    codec, ends, found = Codec(record), end_offsets(bootstrap, [topic]), []
    wanted = sum(ends.values())
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"read-{os.getpid()}", "enable.auto.commit": False}
    )
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for _, partition in ends])
        while len(found) < wanted:
            message = consumer.poll(READ_DEADLINE_S)
            assert message is not None, f"{topic}: {len(found)} of {wanted} records in {READ_DEADLINE_S:.0f} s"
            assert message.error() is None, message.error()
            place = {"key": message.key(), "partition": message.partition()}
            found.append(codec.decode(message.value()) | place)
    finally:
        consumer.close()
    return found
