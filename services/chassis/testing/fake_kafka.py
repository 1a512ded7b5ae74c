"""A Kafka in memory for the loop and the relay: logs that keep everything, a group, producers whose sends go astray.

It keeps the promises the real one gives and no others: what an idempotent producer sent to a partition arrives as a
prefix, once, possibly late (after another producer's records, and after the sender was told of a failure or died).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, TopicPartition

from services.chassis.kafka.client import TRUNCATED
from services.chassis.records import Record

Place = tuple[str, int]
Point = Callable[[str], None]


class FakeMessage:
    """A consumed message, with the methods of confluent_kafka.Message that are used here."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def error(self) -> None:
        """Never: a log in memory does not fail."""

    def topic(self) -> str:
        """Its topic."""
        return self._record.topic

    def partition(self) -> int:
        """Its partition."""
        return self._record.partition

    def offset(self) -> int:
        """Its offset."""
        return self._record.offset

    def key(self) -> bytes:
        """Its key."""
        return self._record.key

    def value(self) -> bytes | None:
        """Its value."""
        return self._record.value

    def headers(self) -> list[tuple[str, bytes]]:
        """Its headers."""
        return list(self._record.headers.items())

    def timestamp(self) -> tuple[int, int]:
        """(LogAppendTime, ms)."""
        return 2, self._record.log_ms


@dataclass
class FakeBroker:
    """Logs by (topic, partition), who owns what, and messages that are still on their way."""

    clock: Callable[[], int]
    logs: defaultdict[Place, list[Record]] = field(default_factory=lambda: defaultdict(list))
    owners: dict[Place, object] = field(default_factory=dict)
    generation: int = 0
    late: list[list[Record]] = field(default_factory=list)
    committed: dict[tuple[str, str, int], tuple[int, str]] = field(default_factory=dict)  # (group, topic, partition)
    # Told of every record that has arrived; and what one poll hands out: (places with something, most) → the same.
    on_append: Callable[[Record], None] = lambda record: None
    poll: Callable[[list[Place], int], tuple[list[Place], int]] = lambda places, most: (places, most)
    # Takes a commit, which nobody waits for, to the broker.
    commits: Callable[[object, Callable[[], None]], None] = lambda member, arrive: arrive()
    # Whether a member hears at a poll that its partitions have changed; until then it reads on.
    tells: Callable[[], bool] = lambda: True

    def append(self, record: Record) -> None:
        """Write at the end of the record's partition; the broker gives offset and log time."""
        log = self.logs[record.topic, record.partition]
        record.offset, record.log_ms = len(log), self.clock()
        log.append(record)
        self.on_append(record)

    def arrive(self) -> None:
        """Everything that was on its way arrives now."""
        late, self.late = self.late, []
        for records in late:
            for record in records:
                self.append(record)

    def assign(self, owners: dict[Place, object]) -> None:
        """A rebalance: members learn of it at their next poll."""
        self.owners.update(owners)
        self.generation += 1


class FakeConsumer:
    """A group member. `point` is told before every poll; it may never return (a crash) or take long (a freeze)."""

    def __init__(
        self, broker: FakeBroker, member: object, point: Point, pass_time: Callable[[float], None], group: str = ""
    ) -> None:
        self._group = group
        self._broker, self._member, self._point, self._pass_time = broker, member, point, pass_time
        self._generation = -1
        self._topics: list[str] = []
        self._mine: list[TopicPartition] = []
        self._next: dict[Place, int] = {}
        self._paused: set[Place] = set()

    def subscribe(
        self, topics: list[str], on_assign: Callable[..., None], on_revoke: Callable[..., None],
        on_lost: Callable[..., None],
    ) -> None:  # fmt: skip
        """Join the group; the first assignment comes with the first poll."""
        self._topics, self._on_assign, self._on_revoke = topics, on_assign, on_revoke

    def assign(self, parts: list[TopicPartition]) -> None:
        """Read these partitions from these offsets; what was paused stays so, as in librdkafka."""
        self._next = {(part.topic, part.partition): part.offset for part in parts}

    def unassign(self) -> None:
        """Read nothing."""
        self.assign([])

    def pause(self, parts: list[TopicPartition]) -> None:
        """Hand out nothing of these."""
        self._paused |= {(part.topic, part.partition) for part in parts}

    def resume(self, parts: list[TopicPartition]) -> None:
        """Hand them out again."""
        self._paused -= {(part.topic, part.partition) for part in parts}

    def consume(self, count: int, timeout_s: float) -> list[FakeMessage]:
        """Up to `count` messages; where there are none the timeout passes."""
        self._point("consume")
        if self._generation != self._broker.generation and (self._generation < 0 or self._broker.tells()):
            self._rebalance()
        found = self._read(count)
        if not found and timeout_s:
            self._pass_time(timeout_s)
            found = self._read(count)
        return found

    def _read(self, most: int) -> list[FakeMessage]:
        logs = self._broker.logs
        waiting = [place for place in sorted(self._next.keys() - self._paused) if self._next[place] < len(logs[place])]
        if not waiting:
            return []
        found: list[FakeMessage] = []
        places, most = self._broker.poll(waiting, most)
        for place in places:
            start = self._next[place]
            for record in logs[place][start : start + most - len(found)]:
                found.append(FakeMessage(record))
                self._next[place] = record.offset + 1
        return found

    def _rebalance(self) -> None:
        self._generation = self._broker.generation
        if self._mine:
            self._on_revoke(self, self._mine)
        owned = sorted(place for place, member in self._broker.owners.items() if member is self._member)
        self._mine = [TopicPartition(topic, partition) for topic, partition in owned if topic in self._topics]
        self._on_assign(self, self._mine)

    def get_watermark_offsets(self, part: TopicPartition, cached: bool) -> tuple[int, int]:
        """(first, next) offset."""
        return 0, len(self._broker.logs[part.topic, part.partition])

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        """Of no consequence but one: a ledger must not be behind what its group has published."""
        generation = self._generation

        def arrive() -> None:
            if generation == self._broker.generation:  # the group refuses those who have not heard of a rebalance
                self._broker.committed.update(
                    {(self._group, part.topic, part.partition): (part.offset, part.metadata or "") for part in offsets}
                )

        self._broker.commits(self._member, arrive)

    def committed(self, parts: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
        """The group's last commits; offset -1001 where there is none, as librdkafka says."""
        known = self._broker.committed
        return [
            TopicPartition(p.topic, p.partition, *known.get((self._group, p.topic, p.partition), (-1001, "")))
            for p in parts
        ]

    def close(self) -> None:
        """Leave the group."""


class FakeProducer:
    """An idempotent producer. The point "deliver" is told before each message; SendFailure there fails it."""

    def __init__(self, broker: FakeBroker, point: Point) -> None:
        self._broker, self._point = broker, point
        self._queue: list[tuple[Record, Callable[..., None]]] = []

    def produce(
        self, topic: str, value: bytes | None, key: bytes, partition: int, headers: list[tuple[str, bytes]],
        on_delivery: Callable[..., None],
    ) -> None:  # fmt: skip
        """Queue a message."""
        self._point("produce")
        self._queue.append((Record(topic, partition, -1, key, value, dict(headers), 0), on_delivery))

    def poll(self, timeout_s: float) -> int:
        """Nothing happens outside flush."""
        return 0

    def flush(self, timeout_s: float) -> int:
        """Deliver the queue in order; 0 when none is left. After a failed message its partition gets no more."""
        broken: set[Place] = set()
        while self._queue:
            record, on_delivery = self._queue[0]
            place = (record.topic, record.partition)
            if place not in broken:
                try:
                    self._point("deliver")
                    self._broker.append(record)
                except SendFailure as failure:
                    if failure.arrives_late:
                        followers = [r for r, _ in self._queue[1:] if (r.topic, r.partition) == place]
                        self._broker.late.append([record, *followers])
                    elif failure.arrives:
                        self._broker.append(record)
                    broken.add(place)
            self._queue.pop(0)
            if place in broken:
                on_delivery(KafkaError(KafkaError._MSG_TIMED_OUT), None)
        return 0

    def purge(self, in_queue: bool, in_flight: bool, blocking: bool) -> None:
        """Forget what is queued."""
        self._queue.clear()


class SendFailure(Exception):  # noqa: N818
    """What a point raises to fail a delivery: the sender is told "failed" whether or not the broker has the message."""

    def __init__(self, arrives: bool, arrives_late: bool = False) -> None:
        super().__init__("send failure")
        self.arrives, self.arrives_late = arrives, arrives_late


@dataclass
class FakeClient:
    """What services.chassis.kafka.client and offsets offer to the loop, for one process."""

    broker: FakeBroker
    member: object
    point: Point
    pass_time: Callable[[float], None]
    partitions: int
    TRUNCATED = TRUNCATED

    def ask_broker(self, bootstrap: str, timeout_s: float) -> None:
        """It is always there."""

    def consumer(self, *settings: object) -> FakeConsumer:
        """A member of the group."""
        return FakeConsumer(self.broker, self.member, self.point, self.pass_time, str(settings[1]))

    def producer(self, *settings: object) -> FakeProducer:
        """A new producer: its own numbering at the broker."""
        return FakeProducer(self.broker, self.point)

    def log_identity(self, bootstrap: str, topics: list[str]) -> tuple[str, dict[str, str]]:
        """(cluster id, topic ids)."""
        return "cluster", {topic: f"id-{topic}" for topic in topics}

    def topic_configs(self, bootstrap: str, topics: list[str]) -> dict[str, dict[str, str | None]]:
        """As topics.py makes them."""
        return {topic: {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"} for topic in topics}

    def first_offsets(self, bootstrap: str, topics: list[str]) -> dict[Place, int]:
        """Every log still has its beginning."""
        return {(topic, number): 0 for topic in topics for number in range(self.partitions)}
