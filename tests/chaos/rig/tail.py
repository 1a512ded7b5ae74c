"""Reads every topic from its beginning to its end and keeps what lies there: a thread, on listeners of its own."""

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from services.chassis.kafka.client import to_record

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """One record as it lies in its topic."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None
    headers: dict[str, str]


class Tail:
    """What was read since the last take(). Faults of the broker only delay it."""

    def __init__(self, bootstrap: str, topics: Iterable[str], partitions: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": f"chaos-tail-{os.getpid()}", "enable.auto.commit": False,
                "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50, "reconnect.backoff.max.ms": 500,
                "isolation.level": "read_uncommitted", "log_level": 2,
            }
        )  # fmt: skip
        self._bootstrap, self._admin = bootstrap, _admin(bootstrap)
        self._places = [TopicPartition(topic, p, 0) for topic in topics for p in range(partitions)]
        self.next: dict[Place, int] = {(place.topic, place.partition): 0 for place in self._places}
        self._records: list[Seen] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)
        self._thread.start()

    def ends(self, timeout_s: float = 5.0) -> dict[Place, int]:
        """The next offset of every partition, as its leader says. Raises KafkaException while it does not."""
        # On a connection of its own: the reader's is busy with fetches that wait.
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted: dict[TopicPartition, OffsetSpec] = {place: latest for place in self._places}  # noqa: C420
        try:
            answers = self._admin.list_offsets(wanted, request_timeout=timeout_s)
            return {(place.topic, place.partition): future.result().offset for place, future in answers.items()}
        except KafkaException:
            # It would name the leader epoch it knows for ever (FENCED_LEADER_EPOCH after a broker's restart).
            self._admin = _admin(self._bootstrap)
            raise

    def is_behind(self, ends: dict[Place, int]) -> bool:
        """Whether something below these ends has not been read yet."""
        return any(self.next[place] < end for place, end in ends.items())

    def take(self) -> list[Seen]:
        """Everything read since the last call, in the order of its partition."""
        taken, self._records = self._records, []
        return taken

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(10)
        self._consumer.close()

    def _run(self) -> None:
        self._consumer.assign(self._places)
        while not self._stop.is_set():
            try:
                for message in self._consumer.consume(1_000, 0.1):
                    if message.error() is None:
                        self._keep(message)
            except KafkaException:
                self._stop.wait(0.2)

    def _keep(self, message: Message) -> None:
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        if offset < self.next[topic, partition]:
            return
        record = to_record(message)
        headers = {name: value.decode() for name, value in record.headers.items()}
        self._records.append(Seen(topic, partition, offset, record.key, record.value, headers))
        self.next[topic, partition] = offset + 1


def _admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
