"""CPU µs of ingest in this process, without a broker: `python -m tests.bench.ingest_speed [rounds]`.

The benchmark's own batches (cli/bench/workload.py) go through each stage alone, through the collector, and through
uvicorn's protocol over a transport that keeps what is written. "hop" is the same protocol around an application that
reads the body and answers: what HTTP itself costs. What the producer costs is in `tests.bench.ingest_floor`.
"""

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

import msgspec
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from cli.bench.workload import Workload
from services.chassis.avro import Codec
from services.chassis.clock import now_ms
from services.ingest.app import build_app
from services.ingest.core.envelope import Body, decode_message, split_batch
from services.ingest.core.keys import Grant, Keyring, key_digest
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge
from services.ingest.encode import Encoder
from services.ingest.handler import Collector
from services.ingest.metrics import count_verdicts
from services.ingest.settings import IngestSettings
from services.ingest.verdicts import answer_batch

ROUNDS = 15
HEAD = (
    b"POST /v1/batch HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nauthorization: Basic bG9jYWw6\r\n"
    b"content-type: application/json\r\nuser-agent: analytics-python/2.3\r\naccept: */*\r\n"
    b"accept-encoding: gzip, deflate\r\nconnection: keep-alive\r\ncontent-length: %d\r\n\r\n"
)


class NullPublisher:
    """Acknowledges at once."""

    unacknowledged = 0

    def publish(self, messages: Any, settled: Callable[[], None]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        settled()
        return future


class Wire(asyncio.Transport):
    """A transport that keeps what is written and tells when the answer is whole."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 8080)})
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...


async def bare_app(scope: Any, receive: Any, send: Any) -> None:
    """The least an application can do."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


def make_collector() -> Collector:
    """The collector with a key named `local`, its broker replaced."""
    keyring = Keyring({key_digest("local"): Grant(Source("local", key="local"))})
    encoder = Encoder(Codec("touchpoint"), Codec("rejected"), b"k" * 32, 4)
    collector = Collector(IngestSettings.model_validate({}), keyring, NullPublisher(), encoder, now_ms)
    collector.refusal = None
    return collector


def over_http(app: Any, bodies: list[bytes]) -> Callable[[], Awaitable[None]]:
    """Sends every body through uvicorn's protocol, one connection, each answered before the next."""
    config = uvicorn.Config(
        app, loop="none", http="httptools", ws="none", lifespan="off", access_log=False, log_config=None,
        server_header=False, date_header=False,
    )  # fmt: skip
    config.load()
    requests = [HEAD % len(body) + body for body in bodies]

    async def run() -> None:
        protocol = HttpToolsProtocol(config, ServerState(), {}, asyncio.get_running_loop())
        wire = Wire()
        protocol.connection_made(wire)
        for request in requests:
            wire.written.clear()
            # A socket gives at most 256 KiB at a time.
            for at in range(0, len(request), 262_144):
                protocol.data_received(request[at : at + 262_144])
            while not protocol.cycle.response_complete:  # noqa: ASYNC110 - a few turns, nothing is waited for
                await asyncio.sleep(0)
            if b" 200 " not in wire.written[0][:20] and b" 200 " not in b"".join(wire.written)[:20]:
                raise SystemExit(b"".join(wire.written)[:300])

    return run


def stages(bodies: list[bytes]) -> dict[str, Callable[[], object]]:
    """Name → work over all events."""
    arrival = Arrival(Source("local"), now_ms())
    split = [body for raw in bodies if isinstance(body := split_batch(raw), Body)]
    raws = [raw for body in split for raw in body.events]
    verdicts = [judge(raw, arrival, str) for raw in raws]
    touchpoints = [verdict.touchpoint for verdict in verdicts if isinstance(verdict, Accepted)]
    records = [msgspec.structs.asdict(touchpoint) for touchpoint in touchpoints]
    encoder, codec = Encoder(Codec("touchpoint"), Codec("rejected"), b"k" * 32, 4), Codec("touchpoint")
    size = len(raws) // len(bodies)
    by_request = [verdicts[at : at + size] for at in range(0, len(verdicts), size)]
    return {
        "split": lambda: [split_batch(raw) for raw in bodies],
        "decode": lambda: [decode_message(raw) for raw in raws],
        "judge (with decode)": lambda: [judge(raw, arrival, str) for raw in raws],
        "record (Avro, key)": lambda: [encoder.touchpoint(touchpoint) for touchpoint in touchpoints],
        "  of it Avro": lambda: [codec.encode(record) for record in records],
        "answer": lambda: [answer_batch(some, True) for some in by_request],
        "count": lambda: [count_verdicts("local", some) for some in by_request],
    }


def measure(events: int, requests: int, rounds: int) -> None:
    """Print the figures for requests of so many events."""
    batches = islice(Workload(7, "r").batches(), requests * events // 100)
    everything = [event for body in batches for event in msgspec.json.decode(body)["batch"]]
    bodies = [msgspec.json.encode({"batch": everything[at : at + events]}) for at in range(0, len(everything), events)]
    works = stages(bodies)
    app = build_app(make_collector(), IngestSettings.model_validate({}))
    loops: dict[str, Callable[[], Awaitable[None]]] = {
        "hop: HTTP alone": over_http(bare_app, bodies),
        "whole, over HTTP": over_http(app, bodies),
    }
    spent: dict[str, list[float]] = {name: [] for name in [*works, *loops]}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(rounds):
            for name, work in works.items():
                began = time.process_time()
                work()
                spent[name].append(time.process_time() - began)
            for name, run in loops.items():
                began = time.process_time()
                runner.run(run())  # type: ignore[arg-type]
                spent[name].append(time.process_time() - began)
    print(f"{len(bodies)} requests of {events} events      µs/event  µs/request")
    for name, times in spent.items():
        us = statistics.median(times) * 1e6
        print(f"  {name:<32}{us / len(everything):>8.2f}{us / len(bodies):>12.1f}")


def main() -> None:
    """Batches of 100, then of 10."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    measure(100, 40, rounds)
    measure(10, 400, rounds)


if __name__ == "__main__":
    main()
