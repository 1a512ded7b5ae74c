"""The bare floor of each stage: the same hops on the same backends, without any logic.

`python -m cli.bench.floor STAGE COUNT` runs one stage's floor in a process of its own over the records that the bench
has left in the topics, and prints the CPU microseconds per event as JSON.
"""

import asyncio
import json
import multiprocessing
import socket
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import uvicorn

from cli.bench.faust_floor import consume_triggers
from cli.bench.load import send
from cli.bench.workload import BATCH
from deploy.local.settings import LocalSettings, local_settings
from services.chassis.clickhouse import connect
from services.chassis.errors import Fatal
from services.chassis.kafka.client import producer
from services.chassis.kafka.offsets import end_offsets, read_range
from services.chassis.records import Record
from services.chassis.redis.client import sync_client
from services.chassis.topics import create_topics, load_topics

TOPIC = "bench.floor"
BATCH_RECORDS = 1_000
APPLY = "redis.call('MSET', unpack(ARGV, 2)) redis.call('SET', KEYS[1], ARGV[1]) return 'OK'"
HEADERS: list[tuple[str, str | bytes | None]] = [
    ("kind", b"event"),
    ("n", b"17"),
    ("node", b"user_id:" + b"0" * 32),
    ("src", b"1.2.3456"),
    ("seq", b"1:2"),
]


class Floors:
    """One method a stage; each returns how many events went through."""

    def __init__(self, settings: LocalSettings) -> None:
        self.settings = settings
        topic = replace(next(iter(load_topics().values())), name=TOPIC)
        create_topics(settings.kafka_bootstrap, [topic], settings.partitions)
        self.producer = producer(settings.kafka_bootstrap, "bench")
        self.redis = sync_client(settings.redis_url)
        self.apply = self.redis.register_script(APPLY)
        self.began_s = time.process_time()
        self.used_s: float | None = None  # where a stage takes its own time

    def _records(self, topic: str, count: int) -> list[Record]:
        ends = end_offsets(self.settings.kafka_bootstrap, [topic])
        place, end = max(ends.items(), key=lambda item: item[1])
        first = max(0, end - count)
        return read_range(self.settings.kafka_bootstrap, topic, place[1], first, end - 1)

    def _forward(self, topic: str, count: int, sets: int, extra_outputs: int) -> int:
        """Consume; per batch one script with `sets` keys of 800 bytes; produce each value on, then wait for acks."""
        records = self._records(topic, count)
        second = min(1, self.settings.partitions - 1)
        for at in range(0, len(records), BATCH_RECORDS):
            batch = records[at : at + BATCH_RECORDS]
            keys = [part for i in range(sets) for part in (f"{{bench}}:{i}", b"x" * 800)]
            self.redis.mget([f"{{bench}}:{i}" for i in range(sets)])
            self.apply(keys=["{bench}:position"], args=[at, *keys])
            for record in batch:
                self.producer.produce(TOPIC, record.value, record.key, partition=0, headers=HEADERS)
            for _ in range(extra_outputs):
                self.producer.produce(TOPIC, b"x" * 600, b"k", partition=second, headers=HEADERS[-1:])
            self.producer.flush()
        return len(records)

    def identity(self, count: int) -> int:
        """Touchpoints through one script and on."""
        return self._forward("touchpoints", count, 400, 0)

    def profile(self, count: int) -> int:
        """Resolved events, one state per two events, one change each, one snapshot per two."""
        return self._forward("touchpoints.resolved", count, 500, 500)

    def rules(self, count: int) -> int:
        """Changes consumed; almost none fires."""
        return len(self._records("profile.changes", count))

    def notify(self, count: int) -> int:
        """Triggers through Faust, acknowledged; `count` counts events, all triggers that are there are read."""
        ends = end_offsets(self.settings.kafka_bootstrap, ["triggers"])
        there = sum(ends.values())
        if not there:
            raise Fatal("no triggers to read")
        self.used_s = asyncio.run(consume_triggers(there))
        return there

    def archive(self, count: int) -> int:
        """Resolved events consumed and inserted as columns into a table that keeps nothing."""
        house = connect(self.settings)
        names = [f"c{i}" for i in range(20)]
        columns = ", ".join(f"{name} String" for name in names)
        house.command(f"CREATE TABLE IF NOT EXISTS bench_floor ({columns}) ENGINE = Null")
        house.insert("bench_floor", names, [["x"]] * 20, None)  # libraries that load at the first insert
        self.began_s = time.process_time()
        records = self._records("touchpoints.resolved", count)
        for at in range(0, len(records), 10 * BATCH_RECORDS):
            values = [record.key.decode() for record in records[at : at + 10 * BATCH_RECORDS]]
            house.insert("bench_floor", names, [values] * 20, None)
        return len(records)

    def ingest(self, count: int) -> int:
        """HTTP in, one produce per event, 200 after the acknowledgements."""
        sender, partitions = self.producer, self.settings.partitions
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])

        async def app(scope: dict[str, Any], receive: Any, do: Any) -> None:
            if scope["type"] != "http":
                return
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            for i in range(BATCH):
                sender.produce(TOPIC, body[:400], b"user_id:" + b"0" * 32, partition=i % partitions)
            await asyncio.to_thread(sender.flush)
            await do({"type": "http.response.start", "status": 200, "headers": []})
            await do({"type": "http.response.body", "body": b"{}"})

        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", lifespan="off"))
        threading.Thread(target=server.run, daemon=True).start()
        while not server.started:
            time.sleep(0.05)
        bodies = [b"x" * BATCH * 160] * (count // BATCH)
        client = multiprocessing.get_context("spawn").Process(
            target=send, args=(f"http://127.0.0.1:{port}", "local", bodies, 0.0)
        )
        client.start()
        self.began_s = time.process_time()
        client.join()
        server.should_exit = True
        if client.exitcode:
            raise Fatal("ingest's floor refused what it was sent; the client's text is above")
        return len(bodies) * BATCH


def main() -> None:
    """Run the floor named on the command line."""
    stage, count = sys.argv[1], int(sys.argv[2])
    floors = Floors(local_settings())
    floors.began_s = time.process_time()
    done = getattr(floors, stage)(count)
    used_s = time.process_time() - floors.began_s if floors.used_s is None else floors.used_s
    cpu_us = used_s / max(1, done) * 1e6
    print(json.dumps({"stage": stage, "events": done, "cpu_us": round(cpu_us, 1)}))


if __name__ == "__main__":
    main()
