"""Faust's Kafka driver with the settings our promises need and that Faust has no switch for.

- Fetch wait: Faust asks the broker to hold an empty fetch for 1.5 s. A broker that polls its log while it holds (Tansu)
  then answers 0.4 s late on average (measured; 7 ms with a wait of 25 ms). Kafka itself answers at once either way.
- Producer: outputs of a partition go out as one batch, accepted whole or not at all, and the next one only after its
  acknowledgement. Whatever a repeat writes twice carries the same sequence number and no hole can arise, so nothing
  rests on Kafka's idempotent producer (aiokafka asks for it in a version that Tansu does not speak).
- Faust's livelock detector compares a monotonic clock with a wall clock and cries wolf on idle topics: off. The lag
  gauge and /readyz say what it was meant to say.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import aiokafka  # type: ignore[import-untyped]
import faust
from aiokafka.errors import IllegalStateError, KafkaError, ProducerClosed  # type: ignore[import-untyped]
from faust.transport.drivers import aiokafka as driver

from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import fp_async
from services.chassis.records import Output


class Owned(NamedTuple):
    """A partition of ours: the log's end (None: not told yet), what is committed, when a fetch was last answered."""

    partition: int
    end: int | None
    committed: int
    answered_ms: int


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self.app.fetch_wait_ms  # type: ignore[attr-defined]
        return consumer

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group."""
        await fp_async("before_subscribe", KafkaError)
        await super().subscribe(topics)
        await fp_async("after_subscribe", KafkaError)

    async def seek_to_committed(self) -> Any:
        """Where to read on, of every partition."""
        await fp_async("before_seek", KafkaError)
        offsets = await super().seek_to_committed()
        await fp_async("after_seek", KafkaError)
        return offsets

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        """What has been fetched."""
        await fp_async("before_poll", KafkaError)
        found = await super().getmany(active_partitions, timeout)
        await fp_async("after_poll", KafkaError)
        return found

    async def commit(self, offsets: Any) -> bool:
        """Whether the group has the offsets."""
        await fp_async("before_commit", KafkaError)
        is_done: bool = await super().commit(offsets)
        await fp_async("after_commit", KafkaError)
        return is_done


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Says nothing; see the module's text."""

    def look(self) -> list["Owned"]:
        """What is owned and how far the broker has told; empty before the start and during a rebalance."""
        found = getattr(self._thread, "_consumer", None)
        if found is None:
            return []
        try:
            return [
                Owned(
                    tp.partition,
                    found.highwater(tp),
                    self._committed_offset.get(tp) or 0,
                    found.last_poll_timestamp(tp) or 0,
                )
                for tp in found.assignment()
            ]
        except (IllegalStateError, AssertionError):  # the consumer's own thread has just taken a partition away
            return []


class _Producer(driver.Producer):
    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all"}

    async def publish(self, topic: str, partition: int, outputs: Sequence[Output]) -> int:
        """Produce a prefix of outputs as one batch and wait for its ack; returns how many fitted (≥ 1).

        Raises Retriable (nothing is known; repeat), Fatal (only a new process can go on).
        """
        producer = self._ensure_producer()
        batch = producer.create_batch()
        count = 0
        for output in outputs:
            if batch.append(key=output.key, value=output.value, timestamp=None, headers=output.headers) is None:
                break
            count += 1
        if count == 0:
            raise Fatal(f"a record of {len(outputs[0].value or b'')} bytes for {topic} does not fit into any batch")
        try:
            await fp_async("before_batch", KafkaError)
            future = await producer.send_batch(batch, topic, partition=partition)
            await fp_async("after_batch", KafkaError)
            await future
            await fp_async("after_batch_ack", KafkaError)
        except ProducerClosed as error:
            raise Fatal(f"producing to {topic}/{partition}: the producer has ended: {error!r}") from error
        except KafkaError as error:
            raise Retriable(f"producing to {topic}/{partition}: {error!r}") from error
        return count


class Transport(driver.Transport):
    """The driver above."""

    Consumer: ClassVar[type[driver.Consumer]] = _Consumer
    Producer: ClassVar[type[driver.Producer]] = _Producer


class App(faust.App):
    """A Faust app on that driver."""

    fetch_wait_ms: int = 25

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Transport:
        return Transport(self.conf.broker_producer, self)

    def look(self) -> list[Owned]:
        """As _Consumer.look."""
        return self._consumer.look() if isinstance(self._consumer, _Consumer) else []

    async def publish(self, topic: str, partition: int, outputs: Sequence[Output]) -> int:
        """As _Producer.publish. Raises Retriable while the producer has not started."""
        producer = self.producer
        if not isinstance(producer, _Producer) or producer._producer is None:
            raise Retriable("the producer has not started")
        return await producer.publish(topic, partition, outputs)
