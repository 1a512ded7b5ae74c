"""The Faust app: the stream of triggers feeds the intake; offsets are committed for what the intake has acknowledged.

Faust keeps no state here: no tables, no changelog topics, no web server. What must survive lies in Redis.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from yarl import URL

from services.chassis.clock import now_ms
from services.chassis.errors import Fatal
from services.chassis.failpoints import fp_async
from services.chassis.health import Health
from services.chassis.kafka.debts import Recoveries
from services.chassis.logs import get_logger, limited
from services.chassis.records import Output, Record
from services.chassis.run import Stop
from services.notify import metrics
from services.notify.adapters.durable import GROUP
from services.notify.driver import App
from services.notify.handler.intake import Incoming
from services.notify.handler.notifier import Notifier
from services.notify.process import say_seldom
from services.notify.settings import NotifySettings

TOPIC = "triggers"
WATCH_S = 0.2
SILENCE_S = 10.0
# Leaving the group, when the deadline is used up already; a broker that is away must not hold up the stop.
LEAVE_S = 3.0
# Faust refuses a request timeout below the session timeout.
REQUEST_TIMEOUT_S = 90.0


class Taker(Protocol):
    """What the stream feeds: the intake, or a benchmark's stand-in."""

    async def put(self, incoming: Incoming) -> None:
        """Take one record; its `acknowledge` lets the offset be committed."""


class Stream:
    """The app and what the handler needs of Kafka: publish, owned partitions. Create inside the event loop."""

    def __init__(self, settings: NotifySettings, health: Health, group: str = GROUP) -> None:
        say_seldom()
        self._log = limited(get_logger())
        self._shown: set[int] = set()
        self._recoveries = Recoveries(metrics.recovery_s)
        self._settings, self._health = settings, health
        self._next: dict[int, int] = {}  # partition → offset after the last acknowledged record
        self.app = _faust_app(settings, group)
        self._topic = self.app.topic(TOPIC, key_serializer="raw", value_serializer="raw")

    async def publish(self, topic: str, partition: int, outputs: Sequence[Output]) -> int:
        """See driver.App.publish."""
        return await self.app.publish(topic, partition, outputs)

    def owned(self) -> Sequence[int]:
        """Partitions of `triggers` that the group gives this replica now."""
        return sorted(owned.partition for owned in self.app.look())

    def feed(self, intake: Taker) -> None:
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
                self._observe()
                await asyncio.sleep(WATCH_S)
        finally:
            self._health.set("kafka", False, "stopping")
            ends_at = time.monotonic() + self._settings.stop_timeout_s
            await notifier.stop(self._settings.stop_timeout_s)
            starting.cancel()
            left_s = max(LEAVE_S, ends_at - time.monotonic())
            await fp_async("before_leave")
            await asyncio.wait([starting, asyncio.ensure_future(self.app.stop())], timeout=left_s)
            await fp_async("after_leave")
            get_logger().info("stream.stopped")

    def _observe(self) -> None:
        """Gauges and readiness; cheap, so it runs at every look."""
        found = self.app.look()
        answered_ms = max((owned.answered_ms for owned in found), default=0)
        silence_s = (now_ms() - answered_ms) / 1_000
        if not found:
            self._health.set("kafka", False, "no partitions assigned yet")
        elif silence_s > SILENCE_S and answered_ms:
            self._health.set("kafka", False, f"no fetch was answered for {silence_s:.0f} s")
            self._log.warning("kafka.silent", silence_s=round(silence_s))
        else:
            self._health.set("kafka", True)
        for partition in self._shown - {owned.partition for owned in found}:
            self._next.pop(partition, None)
            metrics.lag.remove(TOPIC, str(partition))
            self._recoveries.given_away((TOPIC, partition))
        for partition in {owned.partition for owned in found} - self._shown:
            self._recoveries.assigned((TOPIC, partition))
        self._shown = {owned.partition for owned in found}
        for owned in found:
            place = max(self._next.get(owned.partition, 0), owned.committed)
            metrics.lag.labels(TOPIC, str(owned.partition)).set(max(0, (owned.end or 0) - place))
            if owned.partition in self._next or (owned.end is not None and owned.end <= place):
                self._recoveries.back((TOPIC, owned.partition))


def _faust_app(settings: NotifySettings, group: str) -> App:
    session_s = settings.kafka_session_timeout_ms / 1_000
    app = App(
        group,
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
