"""What the trials of a broker share: a topic of their own, writing to it, reading it back, and waiting."""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from services.chassis.errors import Fatal

TIMEOUT_S = 20.0
POLL_S = 0.1
# Records wait in the producer until flush(), which sends them as one batch.
LONG_MS = 60_000
MAX_COPIES = 3
MOST = 100_000


class BrokenError(Exception):
    """The broker does not keep the promise; the text says what it did instead."""


@dataclass
class Probe:
    """A broker under trial. `kill_and_start`: kill -9 and a new start of all of it, where the caller can do that."""

    bootstrap: str
    kill_and_start: Callable[[], None] | None = None
    topics: list[str] = field(default_factory=list)

    def client(self, **more: object) -> dict[str, Any]:
        """Settings of a client."""
        names = {key.replace("_", "."): value for key, value in more.items()}
        return {"bootstrap.servers": self.bootstrap, "log_level": 2, **names}

    @cached_property
    def admin(self) -> AdminClient:
        """A client for topics. Kept: an answer is never heard whose client has gone."""
        return AdminClient(self.client())

    def topic(self, config: Mapping[str, str] | None = None) -> str:
        """A new topic with one partition, made as ours are, with other settings on top. Raises KafkaException."""
        name, admin = f"touchstream.check.{uuid.uuid4().hex[:12]}", self.admin
        copies = min(MAX_COPIES, len(admin.list_topics(timeout=TIMEOUT_S).brokers))
        settings = {"message.timestamp.type": "LogAppendTime", "min.insync.replicas": str(max(1, copies - 1))}
        made = NewTopic(name, num_partitions=1, replication_factor=copies, config={**settings, **(config or {})})
        (future,) = admin.create_topics([made], request_timeout=TIMEOUT_S).values()
        future.result()
        self.topics.append(name)
        within(lambda: self._has_leader(admin, name), "a new topic has no leader")
        return name

    def write(self, topic: str, *values: bytes | None, **more: Any) -> None:
        """Write to partition 0 in one batch, idempotent, acks=all; returns when all of it is acknowledged."""
        failed: list[KafkaError | None] = []
        producer = Producer(self.client(enable_idempotence=True, linger_ms=LONG_MS))
        for value in values:
            producer.produce(topic, value, partition=0, on_delivery=lambda error, _: failed.append(error), **more)
        left = producer.flush(TIMEOUT_S)
        wrong = [error for error in failed if error is not None]
        if left or wrong:
            raise BrokenError(f"{left or len(wrong)} of {len(values)} records not acknowledged: {wrong[:1]}")

    def read(self, topic: str, count: int, offset: int = 0, **more: object) -> list[Message]:
        """`count` messages of partition 0 from an offset on, those that come within 20 s; an error ends the reading."""
        with self.reader(topic, offset, **more) as reader:
            return reader.take(count)

    def everything(self, topic: str) -> list[Message]:
        """All of partition 0, to its end."""
        found = self.read(topic, MOST, enable_partition_eof=True)
        end = found.pop().error() if found else None
        if end is None or end.code() != KafkaError._PARTITION_EOF:
            raise BrokenError(f"no end of the partition comes, only {end}")
        return found

    def reader(self, topic: str, offset: int = 0, **more: object) -> "Reader":
        """A reader outside any group."""
        settings = self.client(group_id=f"touchstream-check-{uuid.uuid4().hex[:8]}", auto_offset_reset="error", **more)
        return Reader(Consumer(settings), TopicPartition(topic, 0, offset))

    def forget(self) -> None:
        """Delete the topics of the trials; a broker that does not let us keeps them."""
        if self.topics:
            for future in self.admin.delete_topics(self.topics, request_timeout=TIMEOUT_S).values():
                try:
                    future.result()
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        raise Fatal(f"the topics {', '.join(self.topics)} could not be deleted: {error}") from error
            self.topics.clear()

    def _has_leader(self, admin: AdminClient, name: str) -> bool:
        topics = admin.list_topics(timeout=TIMEOUT_S).topics
        return name in topics and 0 in topics[name].partitions and topics[name].partitions[0].leader > 0


@dataclass
class Reader:
    """Messages and errors of one partition, in the order in which they come."""

    consumer: Consumer
    place: TopicPartition

    def __enter__(self) -> "Reader":
        self.consumer.assign([self.place])
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()

    def take(self, count: int, timeout_s: float = TIMEOUT_S) -> list[Message]:
        """The next messages, at most `count`, that come within timeout_s; the first error is the last of them."""
        found: list[Message] = []
        deadline = time.monotonic() + timeout_s
        while len(found) < count and time.monotonic() < deadline:
            found += self.consumer.consume(count - len(found), POLL_S)
            if any(message.error() for message in found):
                break
        return found


def values(messages: Iterable[Message]) -> list[bytes | None]:
    """Their values. Raises BrokenError for a message that is an error."""
    found = list(messages)
    wrong = [error for message in found if (error := message.error())]
    if wrong:
        raise BrokenError(f"reading failed: {wrong[0]}")
    return [message.value() for message in found]


def expect(found: object, wanted: object, what: str) -> None:
    """Raises BrokenError naming both where they differ."""
    if found != wanted:
        raise BrokenError(f"{what}: {shown(found)}, not {shown(wanted)}")


def shown(value: object) -> str:
    """A value, short enough for a table."""
    text = repr(list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value)
    return text if len(text) <= 120 else text[:117] + "…"


def within(condition: Callable[[], bool], otherwise: str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait for a condition. Raises BrokenError saying `otherwise` when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise BrokenError(f"{otherwise} after {timeout_s:.0f} s")
        time.sleep(POLL_S)
