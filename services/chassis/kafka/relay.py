"""Relay: outputs in outbox order to an idempotent producer; the first failure stops everything behind it."""

import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.chassis.errors import Retriable
from services.chassis.failpoints import fp
from services.chassis.records import Entry
from services.chassis.redis.claim import Claim


class Relay:
    """Sends entries and waits for every acknowledgement.

    After any failure the producer and all it still holds are thrown away: what the broker has is a prefix per
    partition, and the outbox, sent again with the same numbers, repairs the rest.
    """

    def __init__(self, new_producer: Callable[[], Producer], timeout_s: float = 30.0) -> None:
        self._new_producer = new_producer
        self._timeout_s = timeout_s
        self._producer: Producer | None = None
        self._error: KafkaError | None = None

    def send(self, work: list[tuple[Claim, Entry]]) -> None:
        """Produce all outputs and return when the broker has acknowledged them; marks the claims. Raises Retriable."""
        try:
            fp("before_relay", KafkaException)
            self._produce(work)
            fp("after_produce", KafkaException)
            self._flush()
            fp("after_flush", KafkaException)
        except (KafkaException, BufferError, Retriable) as error:
            self.discard()
            raise Retriable(f"relay failed, nothing after it is sent: {error}") from error
        for claim, _ in work:
            claim.acknowledge()
        fp("after_relay", Retriable)

    def _produce(self, work: list[tuple[Claim, Entry]]) -> None:
        producer = self._ready()
        for claim, entry in work:
            for output in entry.outputs:
                headers: list[tuple[str, str | bytes | None]] = [*output.headers, ("seq", claim.number(output))]
                while True:
                    try:
                        producer.produce(
                            output.topic,
                            output.value,
                            output.key,
                            partition=output.partition,
                            headers=headers,
                            on_delivery=self._on_error,
                        )
                        break
                    except BufferError:  # the queue is full: wait for acknowledgements, not for luck
                        producer.poll(0.1)
                        self._check()

    def _flush(self) -> None:
        producer = self._ready()
        deadline = time.monotonic() + self._timeout_s
        while producer.flush(0.5) > 0:
            self._check()
            if time.monotonic() > deadline:
                raise Retriable(f"no acknowledgement within {self._timeout_s:.0f} s")
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise Retriable(f"delivery failed: {self._error}")

    def _ready(self) -> Producer:
        if self._producer is None:
            self._producer = self._new_producer()
            self._error = None
        return self._producer

    def _on_error(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._error is None:
            self._error = error

    def discard(self) -> None:
        """Purge everything unsent and in flight, and forget the producer."""
        if self._producer is not None:
            fp("before_discard")
            self._producer.purge(in_queue=True, in_flight=True, blocking=True)
            self._producer.flush(1.0)
            self._producer = None
            fp("after_discard")
