"""CPU µs of identity per event, stage by stage, and of Valkey under its script.

`python -m tests.bench.identity_speed [events a script] [events]`: the benchmark's traffic (cli/bench/workload.py) as
ingest would write it, worked off by the real worker on a Valkey of its own. No broker: messages are made by hand, and
the relay's producer is left out. Python's share is this process' CPU time, Valkey's is its own count of it.
"""

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import redis
from confluent_kafka import Message

from cli.bench.workload import Workload
from services.chassis.avro import Codec
from services.chassis.ids import node_of, partition_of
from services.chassis.kafka.client import to_record
from services.chassis.redis.client import sync_client
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.registry import open_registry
from services.identity.adapters import SERVICE, Encoder, Graph, load_policy
from services.identity.handler import IdentityWorker, Writer
from services.ingest.core.envelope import Body, split_batch
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge
from tests.conformance.valkey_server import valkey_server

KEY, PARTITIONS, NOW_MS = b"k" * 32, 4, 1_795_312_800_000
WARM_UP = 20_000


def make_messages(events: int) -> list[list[Message]]:
    """The touchpoints of the workload, by partition, as the consumer gives them."""
    codec, arrival = Codec("touchpoint"), Arrival(Source("local"), NOW_MS)
    found: list[list[Message]] = [[] for _ in range(PARTITIONS)]
    for raw in islice(Workload(7, "r").batches(), events // 100):
        body = split_batch(raw)
        assert isinstance(body, Body)
        for event in body.events:
            verdict = judge(event, arrival, str)
            if isinstance(verdict, Accepted):
                value = codec.encode(msgspec.structs.asdict(verdict.touchpoint))
                key = node_of(verdict.touchpoint.identifiers[0], KEY).encode()
                place = partition_of(key, PARTITIONS)
                found[place].append(
                    Message(
                        topic="touchpoints", partition=place, offset=len(found[place]), key=key, value=value,
                        headers=None, timestamp=(1, NOW_MS + len(found[place])),
                    )
                )  # fmt: skip
    return found


class Lab:
    """Workers of all partitions on one server, and the CPU µs per event that each stage took, one entry a script."""

    def __init__(self, client: "redis.Redis", messages: list[list[Message]]) -> None:
        policy, self.client, self.messages = load_policy("deploy/config/identity.yaml"), client, messages
        self.us: dict[str, list[float]] = {}
        ledger, registry = Ledger(client), open_registry()
        graph, writer = Graph(ledger, policy), Writer(policy, PARTITIONS, registry)
        encode = Encoder(policy, KEY).encode
        self.claims = [
            ledger.claim(Slot(SERVICE, p, True), "touchpoints", "cluster", "topic", 0) for p in range(PARTITIONS)
        ]
        self.workers = [
            IdentityWorker(claim, ledger, graph, writer, policy, encode, lambda *place: []) for claim in self.claims
        ]
        self.writer, self.graph = writer, graph
        self.timed(graph, "resolve", "script, seen from Python")
        self.timed(writer, "outputs", "outputs")

    def timed(self, owner: object, name: str, label: str) -> None:
        """Take the time of a method on its own, too."""
        method = getattr(owner, name)
        setattr(owner, name, lambda *args: self.spent(label, lambda: method(*args)))

    def spent(self, label: str, work: Callable[[], Any]) -> Any:
        """What work answers; its CPU time is kept under the label."""
        began = time.process_time()
        answer = work()
        self.us.setdefault(label, []).append((time.process_time() - began) * 1e6 / self.size)
        return answer

    def step(self, partition: int, size: int) -> int:
        """Work off the next `size` touchpoints of a partition; returns how many there were."""
        claim = self.claims[partition]
        some = self.messages[partition][claim.position : claim.position + size]
        if not some:
            return 0
        self.size = len(some)
        records = self.spent("to_record", lambda: [to_record(message) for message in some])
        last = records[-1]
        self.spent("step", lambda: self.workers[partition].step(records, {}, last.offset + 1, last.log_ms, NOW_MS))
        claim.acknowledge()
        return len(some)


def server_us(client: "redis.Redis") -> float:
    """Valkey's CPU time so far."""
    found = client.info("cpu")
    return float(found["used_cpu_user"] + found["used_cpu_sys"]) * 1e6


def main() -> None:
    """Run and print."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 250
    events = int(sys.argv[2]) if len(sys.argv) > 2 else 60_000
    messages = make_messages(events)
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder, valkey_server(Path(folder), "no") as url:
        client = sync_client(url)
        lab = Lab(client, messages)
        while sum(claim.position for claim in lab.claims) < WARM_UP:
            for partition in range(PARTITIONS):
                lab.step(partition, 1_000)
        lab.us.clear()
        client.config_resetstat()
        before, done = server_us(client), 0
        while some := sum(lab.step(partition, size) for partition in range(PARTITIONS)):
            done += some
        spent = server_us(client) - before
        commands = client.info("commandstats")
    print(f"{done} events, {size} a script; CPU µs an event")
    for label, times in lab.us.items():
        print(f"  {label:<28}{statistics.median(times):>8.2f}")
    print(f"  {'Valkey':<28}{spent / done:>8.2f}")
    for name, told in sorted(commands.items(), key=lambda item: -item[1]["usec"])[:9]:
        print(f"    {name:<26}{told['usec'] / done:>8.2f}   {told['calls'] / done:>7.3f} calls")


if __name__ == "__main__":
    main()
