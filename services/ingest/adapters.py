"""The way to Kafka: many messages at once, one future per request, resolved when the broker has acknowledged them all.

Everything here runs on the event loop's thread. librdkafka calls back only from poll(), and poll(0) is called from the
loop every millisecond while something is under way, first when the producer's linger is over: a thread of its own
would fight the loop for the interpreter lock (switch interval 5 ms) and win nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from services.chassis.errors import Fatal
from services.chassis.failpoints import fp
from services.chassis.kafka import client, offsets
from services.ingest.metrics import PRODUCE_SECONDS, UNACKNOWLEDGED

POLL_INTERVAL_S = 0.001
# A leader election takes a few seconds; longer, and the load balancer should know.
STUCK_AFTER_S = 5.0


class Outgoing(NamedTuple):
    """One record to be written."""

    topic: str
    partition: int
    key: bytes
    value: bytes


class NotStored(Exception):  # noqa: N818 - an outcome, not a fault of the program
    """The broker did not acknowledge every message; some may have been stored all the same."""


class Publisher(Protocol):
    """Where the records of a request go."""

    @property
    def unacknowledged(self) -> int:
        """Messages handed over whose fate is not known."""
        ...

    def publish(self, messages: Sequence[Outgoing], settled: Callable[[], None]) -> asyncio.Future[None]:
        """Hand over. The future ends when every message is acknowledged, or fails with NotStored.

        `settled` is called exactly once, when the fate of all of them is known, however long that takes: also when
        nobody waits for the future any more. Only then are their bytes out of memory.
        """
        ...


class _Receipt:
    """Counts the acknowledgements of one request."""

    __slots__ = ("_began", "_count", "_failure", "_future", "_open", "_publisher", "_settled")

    def __init__(
        self, publisher: "KafkaPublisher", settled: Callable[[], None], future: asyncio.Future[None], count: int
    ) -> None:
        self._publisher = publisher
        self._settled = settled
        self._future = future
        self._count = self._open = count
        self._failure = ""
        self._began = time.perf_counter()

    def fail(self, reason: str) -> None:
        """Tell the waiting request now; what was handed over is still counted until its fate is known."""
        self._failure = reason
        if not self._future.done():
            self._future.set_exception(NotStored(reason))

    def on_delivery(self, error: Any, message: Any) -> None:
        """librdkafka's report of one message, called from poll()."""
        if error is not None:
            self._publisher.note_error(error)
            self.fail(str(error))
        self._open -= 1
        if not self._open:
            self._close()

    def forget(self, count: int) -> None:
        """`count` messages were never handed over."""
        self._open -= count
        if not self._open:
            self._close()

    def _close(self) -> None:
        self._publisher.settle(self._count)
        PRODUCE_SECONDS.observe(time.perf_counter() - self._began)
        if not self._failure and not self._future.done():
            self._future.set_result(None)
        self._settled()


class KafkaPublisher:
    """An idempotent producer (acks=all) that never gives up a message while it runs."""

    def __init__(self, producer: Any, linger_s: float = 0.0) -> None:
        """producer: chassis' producer with report_all=True, otherwise successes would never be reported.

        linger_s: how long it gathers before it sends; nobody asks it for reports earlier.
        """
        self._producer = producer
        self._first_poll_s = max(linger_s, POLL_INTERVAL_S)
        self._unacknowledged = 0
        self._is_polling = False
        self._fatal = ""
        self._idle = asyncio.Event()
        self._progress_at = 0.0
        UNACKNOWLEDGED.set_function(lambda: self._unacknowledged)

    @property
    def unacknowledged(self) -> int:
        return self._unacknowledged

    def publish(self, messages: Sequence[Outgoing], settled: Callable[[], None]) -> asyncio.Future[None]:
        """See Publisher. Raises Fatal once the producer cannot go on (fenced or out of sequence)."""
        if self._fatal:
            raise Fatal(self._fatal)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Counted before the first is handed over: a report can come from inside produce().
        receipt = _Receipt(self, settled, future, len(messages))
        if not self._unacknowledged:
            self._progress_at = time.monotonic()
        poll_in_s = POLL_INTERVAL_S if self._unacknowledged else self._first_poll_s
        self._unacknowledged += len(messages)
        produce, on_delivery, done = self._producer.produce, receipt.on_delivery, 0
        try:
            fp("before_produce", client.KafkaException)
            for topic, partition, key, value in messages:
                produce(topic, value, key, partition, on_delivery)
                done += 1
            fp("after_produce", client.KafkaException)
        except (BufferError, client.KafkaException) as error:
            receipt.fail(f"the producer took {done} of {len(messages)} messages: {error}")
            receipt.forget(len(messages) - done)
        self._poll_soon(poll_in_s)
        return future

    def settle(self, count: int) -> None:
        """Part of _Receipt."""
        self._unacknowledged -= count
        self._progress_at = time.monotonic()
        if not self._unacknowledged:
            self._idle.set()

    def note_error(self, error: Any) -> None:
        """Part of _Receipt: an error after which an idempotent producer refuses everything ends the process."""
        if error.fatal():
            self._fatal = f"Kafka producer cannot go on: {error}; restart the process"

    @property
    def is_stuck(self) -> bool:
        """True while messages wait and none was acknowledged for STUCK_AFTER_S."""
        return self._unacknowledged > 0 and time.monotonic() - self._progress_at > STUCK_AFTER_S

    @property
    def fatal(self) -> str:
        """Why the producer cannot go on; empty while it can."""
        return self._fatal

    def _poll_soon(self, delay_s: float) -> None:
        if not self._is_polling and self._unacknowledged:
            self._is_polling = True
            asyncio.get_running_loop().call_later(delay_s, self._poll)

    def _poll(self) -> None:
        self._is_polling = False
        try:
            fp("before_poll")
            self._producer.poll(0)
            fp("after_poll")
        finally:  # whatever a report came to: without the next look, nobody would hear of the others
            self._poll_soon(POLL_INTERVAL_S)

    async def close(self, deadline_s: float) -> int:
        """Wait for what is under way, at most deadline_s; returns how many messages were given up (their senders had
        no 200 and will send them again)."""
        if self._unacknowledged:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), deadline_s)
        left = self._unacknowledged
        if left:
            self._producer.purge()
            self._producer.poll(0)
        return left


def open_publisher(bootstrap: str, linger_ms: float) -> KafkaPublisher:
    """A publisher on a new producer; connects in the background."""
    return KafkaPublisher(client.producer(bootstrap, "ingest", linger_ms, report_all=True), linger_ms / 1000)


def count_partitions(bootstrap: str, topics: Sequence[str]) -> dict[str, int]:
    """Topic → partitions as the broker has it (0: no such topic). Blocks up to 10 s; raises Retriable."""
    places = offsets.end_offsets(bootstrap, topics)
    return {topic: sum(1 for name, _ in places if name == topic) for topic in topics}
