"""Many partitions read side by side, each in its own order, as far as it reached: for what walks a log once, from afar.

Not for services: no group, no waiting for more. A partition that nobody asks for is read HELD records ahead at most.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from services.chassis.errors import Fatal, Retriable
from services.chassis.kafka.client import TRUNCATED, to_record
from services.chassis.kafka.reader import Place
from services.chassis.records import Record

# Records of one partition in memory while another one is asked for. Lower: fetches are thrown away and asked for again.
HELD = 20_000
CONSUMED = 5_000
# A rebuild is never so urgent that a busy broker should end it.
SILENCE_S = 60.0


class Streams:
    """Open partitions by place. Raises Fatal when retention took a start, Retriable when Kafka falls silent."""

    def __init__(self, bootstrap: str, starts: Mapping[Place, int]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "touchstream-streams",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 10,
                "queued.max.messages.kbytes": 16_384,
            }
        )
        self._waiting: dict[Place, deque[Message]] = {place: deque() for place in starts}
        self._paused: set[Place] = set()
        self._ended: set[Place] = set()
        self.read = 0  # records handed out
        if starts:
            self._consumer.assign([TopicPartition(topic, p, at) for (topic, p), at in starts.items()])

    def next(self, place: Place) -> Record | None:
        """The next record of this partition; None at its end."""
        waiting = self._waiting[place]
        while not waiting:
            if place in self._ended:
                return None
            self._pump(place)
        self.read += 1
        record = to_record(waiting.popleft())
        if place in self._paused and len(waiting) < HELD // 4:
            self._resume(place)
        return record

    def all_of(self, place: Place) -> Iterator[Record]:
        """The rest of this partition."""
        while (record := self.next(place)) is not None:
            yield record

    def _pump(self, wanted: Place) -> None:
        self._resume(wanted)
        deadline = time.monotonic() + SILENCE_S
        while time.monotonic() < deadline:
            messages = self._consumer.consume(CONSUMED, 0.05)
            if messages:
                self._sort(messages)
                return
        raise Retriable(f"{wanted[0]} partition {wanted[1]}: nothing came for {SILENCE_S:.0f} s")

    def _sort(self, messages: list[Message]) -> None:
        for message in messages:
            place = message.topic() or "", message.partition() or 0
            error = message.error()
            if error is None:
                self._waiting[place].append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended.add(place)
                self._pause(place)
            elif error.code() in TRUNCATED:
                raise Fatal(f"{place[0]} partition {place[1]}: the offset to begin at is gone ({error})")
        for place, waiting in self._waiting.items():
            if len(waiting) >= HELD and place not in self._paused:
                self._pause(place)

    def _pause(self, place: Place) -> None:
        self._paused.add(place)
        self._consumer.pause([TopicPartition(*place)])

    def _resume(self, place: Place) -> None:
        if place in self._paused and place not in self._ended:
            self._paused.discard(place)
            self._consumer.resume([TopicPartition(*place)])

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()

    def __enter__(self) -> "Streams":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Sent:
    """What stands in output topics, per writer's partition in the order of its numbers; repetitions are left out."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._waiting: dict[tuple[Place, str], deque[tuple[int, Record]]] = {}
        self._last: dict[tuple[Place, str], int] = {}

    def next(self, place: Place, source: str) -> tuple[int, Record] | None:
        """(number, record) of the next record that input partition `source` wrote there; None: there is no more."""
        waiting = self._waiting.setdefault((place, source), deque())
        return waiting.popleft() if self._fill(place, waiting) else None

    def at(self, place: Place, source: str, number: int) -> Record | None:
        """The record of this number; None where there is none (see is_past). Numbers must be asked for in order."""
        waiting = self._waiting.setdefault((place, source), deque())
        if self._fill(place, waiting) and waiting[0][0] == number:
            return waiting.popleft()[1]
        return None

    def is_past(self, place: Place, source: str) -> bool:
        """Whether there are later records than the one last asked for: it was sent and is gone."""
        return bool(self._waiting.get((place, source)))

    def _fill(self, place: Place, waiting: deque[tuple[int, Record]]) -> bool:
        while not waiting:
            record = self._streams.next(place)
            if record is None:
                return False
            origin, _, number = record.headers.get("seq", b"").decode("ascii", "replace").partition(":")
            if not number.isdigit() or int(number) <= self._last.get((place, origin), 0):
                continue
            self._last[place, origin] = int(number)
            self._waiting.setdefault((place, origin), deque()).append((int(number), record))
        return True

    def last(self, place: Place, source: str) -> int:
        """The last number read so far that `source` wrote there; 0 before the first."""
        return self._last.get((place, source), 0)


def places(topics: Iterable[str], partitions: int) -> list[Place]:
    """Every partition of these topics."""
    return [(topic, p) for topic in topics for p in range(partitions)]
