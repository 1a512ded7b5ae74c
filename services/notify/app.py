"""The Faust app: the stream of triggers feeds the intake; offsets are committed for what the intake has acknowledged.

Faust keeps no state here: no tables, no changelog topics, no web server. What must survive lies in Redis.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import Any

import faust
from yarl import URL

from services.chassis.errors import Fatal
from services.chassis.health import Health
from services.chassis.logs import get_logger
from services.chassis.records import Output, Record
from services.chassis.run import Stop
from services.notify import metrics
from services.notify.driver import App
from services.notify.handler.intake import Incoming, Intake
from services.notify.handler.notifier import Notifier
from services.notify.settings import NotifySettings

TOPIC = "triggers"
GROUP = "touchstream-notify"
WATCH_S = 0.2
# Faust refuses a request timeout below the session timeout.
REQUEST_TIMEOUT_S = 90.0


class Stream:
    """The app and what the handler needs of Kafka: publish, owned partitions. Create inside the event loop."""

    def __init__(self, settings: NotifySettings, health: Health) -> None:
        logging.getLogger("faust").setLevel(logging.WARNING)
        self._settings, self._health = settings, health
        self._next: dict[int, int] = {}  # partition → offset after the last acknowledged record
        self.app = _faust_app(settings)
        self._topic = self.app.topic(TOPIC, key_serializer="raw", value_serializer="raw")

    async def publish(self, topic: str, partition: int, outputs: Sequence[Output]) -> int:
        """See driver.App.publish."""
        return await self.app.publish(topic, partition, outputs)

    def owned(self) -> Sequence[int]:
        """Partitions of `triggers` that the group gives this replica now."""
        if self.app._consumer is None:
            return []
        try:
            return sorted(tp.partition for tp in self.app._consumer.assignment())
        except faust.exceptions.ConsumerNotStarted:
            return []

    def feed(self, intake: Intake) -> None:
        """Let every record of the stream go to the intake; call before start."""

        async def triggers(stream: Any) -> None:
            events: AsyncIterator[Any] = stream.noack().events()
            async for event in events:
                record = _record(event.message)
                await intake.put(Incoming(record, lambda event=event, record=record: self._acknowledge(event, record)))  # type: ignore[misc]

        self.app.agent(self._topic, name="triggers", concurrency=1)(triggers)

    def _acknowledge(self, event: Any, record: Record) -> None:
        event.ack()
        self._next[record.partition] = record.offset + 1

    async def run(self, notifier: Notifier, stop: Stop) -> None:
        """Work until stop is set, then drain. Raises Fatal when Faust or a part of the notifier has ended."""
        notifier.start()
        starting = asyncio.ensure_future(self.app.start())
        try:
            while not stop.is_set():
                if starting.done() and starting.exception() is not None:
                    raise Fatal(f"Kafka at {self._settings.kafka_bootstrap}: {starting.exception()!r}")
                crashed = notifier.crashed() or (f"{self.app.crash_reason!r}" if self.app.crashed else "")
                if crashed:
                    raise Fatal(f"notify cannot go on: {crashed}")
                await self._observe()
                await asyncio.sleep(WATCH_S)
        finally:
            self._health.set("kafka", False, "stopping")
            await notifier.stop(self._settings.stop_timeout_s)
            starting.cancel()
            await asyncio.wait(
                [starting, asyncio.ensure_future(self.app.stop())], timeout=self._settings.stop_timeout_s
            )
            get_logger().info("stream.stopped")

    async def _observe(self) -> None:
        """Gauges and readiness; cheap, so it runs at every look."""
        partitions = self.owned()
        self._health.set("kafka", bool(partitions), "" if partitions else "no partitions assigned yet")
        consumer = self.app._consumer
        for partition in list(self._next):
            if partition not in partitions:
                del self._next[partition]
                metrics.lag.remove(TOPIC, str(partition))
        if consumer is None or not partitions:
            return
        for tp in consumer.assignment():
            end = consumer.highwater(tp)
            if end is not None:
                place = self._next.get(tp.partition)
                if place is None:
                    place = self._next[tp.partition] = await consumer.position(tp) or 0
                metrics.lag.labels(TOPIC, str(tp.partition)).set(max(0, end - place))


def _faust_app(settings: NotifySettings) -> App:
    session_s = settings.kafka_session_timeout_ms / 1_000
    app = App(
        GROUP,
        broker=[URL(f"aiokafka://{address.strip()}") for address in settings.kafka_bootstrap.split(",")],
        datadir=tempfile.gettempdir(),  # Faust wants a folder; without tables nothing is written to it
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=session_s,
        broker_rebalance_timeout=session_s,
        broker_heartbeat_interval=max(0.5, session_s / 6),
        broker_request_timeout=max(REQUEST_TIMEOUT_S, session_s),
        broker_commit_interval=settings.commit_interval_ms / 1_000,
        stream_buffer_maxsize=1_000,
        stream_wait_empty=False,  # what is in the intake at a rebalance is repeated elsewhere and recognised there
        stream_recovery_delay=0.0,
        producer_linger=0.0,
    )
    app.fetch_wait_ms = settings.fetch_wait_ms
    return app


def _record(message: Any) -> Record:
    headers = {name: raw or b"" for name, raw in message.headers or ()}
    value: bytes | None = message.value
    return Record(
        message.topic, message.partition, message.offset, message.key or b"", value, headers,
        int((message.timestamp or 0) * 1_000),
    )  # fmt: skip
