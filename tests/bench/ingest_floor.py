"""CPU per event of ingest, beside the floor of its stages: `python -m tests.bench.ingest_floor [batches]`.

Starts a broker and an ingest of its own, sends batches of 100 over one connection after the other, and reads the CPU
time (all threads, user and system) of the ingest process. Nothing is asserted: a busy machine changes the figures.
"""

import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec

from deploy.local import broker
from deploy.local.settings import ROOT, local_settings
from services.chassis.avro import Codec
from services.chassis.ids import node_of, partition_of
from services.chassis.testing.waiting import free_port, wait_for
from services.chassis.topics import create_topics, load_topics
from services.ingest.core.envelope import Message, decode_message, encode_json
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge

BATCH = 100
CUSTOMERS = 20_000
AUTHORIZATION = "Basic bG9jYWw6"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def make_event(rng: random.Random, place: int) -> dict[str, object]:
    """A shop's event of about 600 bytes: page, product, identify and order in turn."""
    customer = rng.randrange(CUSTOMERS)
    event: dict[str, object] = {
        "messageId": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "anonymousId": str(uuid.uuid5(uuid.NAMESPACE_DNS, str(customer))),
        "timestamp": f"2026-11-22T02:00:00.{place % 1000:03d}Z",
        "context": {
            "library": {"name": "analytics-python", "version": "2.4.0"},
            "page": {"path": f"/p/{place % 97}", "url": f"https://shop.example.com/p/{place % 97}"},
            "userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15",
        },
        "integrations": {},
    }
    match place % 8:
        case 0:
            traits = {
                "phone": f"139{customer:08d}",
                "email": f"u{customer}@Example.com",
                "name": "张三",
                "city": "深圳",
            }
            return event | {"type": "identify", "userId": f"u{customer}", "traits": traits}
        case 1:
            order = {"order_id": f"o{place}", "total": "199.90", "currency": "CNY", "coupon": "C1"}
            return event | {"type": "track", "event": "Order Completed", "userId": f"u{customer}", "properties": order}
        case 2 | 3 | 4:
            product = {"product_id": f"p{place % 97}", "price": 19.9, "category": "shoes"}
            return event | {"type": "track", "event": "Product Viewed", "properties": product}
    return event | {"type": "page", "name": "Home", "properties": {"path": "/", "title": "Home"}}


def make_bodies(batches: int) -> list[bytes]:
    """Bodies of /v1/batch, each with its own events."""
    rng = random.Random(7)
    return [
        json.dumps({"batch": [make_event(rng, n * BATCH + i) for i in range(BATCH)], "sentAt": "2026-11-22T02:00:01Z"})
        .encode()
        for n in range(batches)
    ]  # fmt: skip


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def measure_stages(bodies: list[bytes]) -> None:
    """The bare hops of one event in this process, without HTTP: the floor that the service is compared with."""
    raws = [encode_json(event) for body in bodies[:20] for event in json.loads(body)["batch"]]
    arrival = Arrival(Source("bench"), 1_795_312_800_000, sent_at="2026-11-22T02:00:01Z")
    accepted = [verdict for raw in raws if isinstance(verdict := judge(raw, arrival, str), Accepted)]
    records = [msgspec.structs.asdict(verdict.touchpoint) for verdict in accepted]
    codec = Codec("touchpoint")
    print(f"  {len(raws)} events of {sum(map(len, raws)) // len(raws)} bytes, {len(accepted)} accepted")
    _time("JSON decoded", len(raws), lambda: [decode_message(raw) for raw in raws])
    _time("decided (with JSON decoded and encoded)", len(raws), lambda: [judge(raw, arrival, str) for raw in raws])
    _time("Avro encoded", len(records), lambda: [codec.encode(record) for record in records])
    keys = [record["identifiers"][0] for record in records]
    _time("key and partition", len(keys), lambda: [partition_of(node_of(key, b"k" * 32).encode(), 4) for key in keys])
    assert isinstance(decode_message(raws[0]), Message)


def _time(name: str, count: int, work: Callable[[], object]) -> None:
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    print(f"  {name:<42}{best / count * 1e6:6.1f} µs")


def send(port: int, bodies: list[bytes]) -> None:
    """Every body once, each answered before the next."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": AUTHORIZATION, "Content-Type": "application/json"}
    for body in bodies:
        connection.request("POST", "/v1/batch", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"ingest answered {answer.status}: {text[:300]!r}")
    connection.close()


def main() -> None:
    """Run and print."""
    batches = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    bodies = make_bodies(batches)
    measure_stages(bodies)
    port, state = free_port(), tempfile.mkdtemp()
    variables = {"TOUCHSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}", "TOUCHSTREAM_LOCAL_STATE_DIR": state}
    settings = local_settings(variables)
    broker.prepare(settings)
    processes = [subprocess.Popen(broker.command(settings), env={**os.environ, **broker.environment(settings)})]
    try:
        wait_for(lambda: broker.is_ready(settings), "the broker answers")
        create_topics(settings.kafka_bootstrap, load_topics().values(), 4)
        own = {"TOUCHSTREAM_INGEST_PORT": str(port), "TOUCHSTREAM_INGEST_METRICS_PORT": "0"}
        env = {**os.environ, **variables, **own, "TOUCHSTREAM_PARTITIONS": "4"}
        processes.append(subprocess.Popen([sys.executable, "-m", "services.ingest"], cwd=ROOT, env=env))
        pid = processes[-1].pid
        wait_for(lambda: is_serving(port), "ingest accepts")
        send(port, bodies[: batches // 4])
        before, began = cpu_seconds(pid), time.perf_counter()
        send(port, bodies)
        spent, lasted = cpu_seconds(pid) - before, time.perf_counter() - began
        events = batches * BATCH
        print(f"  ingest as a process: {spent / events * 1e6:.1f} µs CPU an event, {events / lasted:,.0f} events/s "
              "over one connection")  # fmt: skip
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=20)


def is_serving(port: int) -> bool:
    """True once an empty batch is accepted."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("POST", "/v1/batch", b'{"batch":[]}', {"Authorization": AUTHORIZATION})
        return connection.getresponse().status == 200
    except OSError:
        return False


if __name__ == "__main__":
    main()
