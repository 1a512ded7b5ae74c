"""The life of the process: topics checked, requests served, and at the end everything under way finished."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from services.chassis.avro import Codec
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import fp, fp_async
from services.chassis.health import Health
from services.chassis.logs import get_logger
from services.chassis.registry import open_registry
from services.chassis.run import Stop
from services.ingest.adapters import KafkaPublisher, count_partitions, open_publisher
from services.ingest.app import build_app
from services.ingest.core.keys import Keyring
from services.ingest.core.regions import find_city
from services.ingest.encode import REJECTED, TOUCHPOINTS, Encoder
from services.ingest.handler import Collector
from services.ingest.settings import IngestSettings

CHECK_INTERVAL_S = 0.1
RETRY_INTERVAL_S = 1.0


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: chassis decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    settings: IngestSettings,
    keyring: Keyring,
    stop: Stop,
    health: Health,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until `stop` is set, then drain. Calls `listening` with the port. Raises Fatal, OSError (port taken)."""
    registry = open_registry(settings.schema_registry_url)
    encoder = Encoder(
        Codec("touchpoint", registry), Codec("rejected", registry), settings.identifier_key_bytes(), settings.partitions
    )
    publisher = open_publisher(settings.kafka_bootstrap, settings.linger_ms)
    collector = Collector(settings, keyring, publisher, encoder, now_ms)
    # The tables of regions take a third of a second to build; the first customer with a city must not wait for it.
    await asyncio.to_thread(find_city, "")
    fp("before_listen", OSError)
    bound = socket.create_server((settings.host, settings.port), backlog=2048, reuse_port=False)
    server = _Server(_config(build_app(collector, settings), settings))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    logger = get_logger()
    logger.info("http.listening", host=settings.host, port=bound.getsockname()[1])
    listening(bound.getsockname()[1])
    fp("after_listen", OSError)
    try:
        await _open(collector, encoder, settings, health, stop)
        await _watch(publisher, health, stop, serving)
    finally:
        collector.refusal = "stopping"
        health.set("http", False, "stopping")
        server.should_exit = True
        await serving
        await fp_async("before_drain")
        given_up = await publisher.close(settings.drain_timeout_ms / 1000)
        await fp_async("after_drain")
        logger.info("http.stopped", unacknowledged=given_up)


def _config(app: object, settings: IngestSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=-(-settings.drain_timeout_ms // 1000),
    )


async def _open(collector: Collector, encoder: Encoder, settings: IngestSettings, health: Health, stop: Stop) -> None:
    """Accept requests once the broker has the topics with the expected partitions; until then the answer is 503."""
    health.set("http", True)
    health.set("kafka", False, "not reached yet")
    topics = (TOUCHPOINTS, REJECTED)
    while not stop.is_set():
        try:
            await asyncio.to_thread(encoder.warm_up)
            found = await asyncio.to_thread(count_partitions, settings.kafka_bootstrap, topics)
        except Retriable as error:
            health.set("kafka", False, str(error))
            await asyncio.sleep(RETRY_INTERVAL_S)
            continue
        wrong = {name: count for name, count in found.items() if count != settings.partitions}
        if any(wrong.values()):
            raise Fatal(
                f"partitions on {settings.kafka_bootstrap} are {wrong}, TOUCHSTREAM_PARTITIONS says "
                f"{settings.partitions}: keys would get two owners; set it to what the topics have"
            )
        if not wrong:
            health.set("kafka", True)
            collector.refusal = None
            return
        health.set("kafka", False, f"topics {sorted(wrong)} do not exist: create them with `touchstream setup`")
        await asyncio.sleep(RETRY_INTERVAL_S)


async def _watch(publisher: KafkaPublisher, health: Health, stop: Stop, serving: asyncio.Task[None]) -> None:
    while not stop.is_set() and not serving.done():
        if publisher.fatal:
            health.set("kafka", False, publisher.fatal)
            raise Fatal(publisher.fatal)
        health.set("kafka", not publisher.is_stuck, "" if not publisher.is_stuck else "the broker does not acknowledge")
        await asyncio.sleep(CHECK_INTERVAL_S)
