"""Kafka clients with the settings the guarantees rest on, and what operators' tools ask a broker."""

import time
from collections.abc import Iterable
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from services.chassis.errors import Fatal, Retriable
from services.chassis.records import Record

ASK_TIMEOUT_S = 10.0
# What a consumer that may not reset says when its position is not in the log any more.
TRUNCATED = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


def producer(bootstrap: str, client_id: str, linger_ms: float = 2.0, report_all: bool = False) -> Producer:
    """An idempotent producer, acks=all, that never gives a message up by itself.

    message.timeout.ms=0: a local time-out would drop one message and send its successors, a gap. Who cannot wait any
    longer purges everything and throws the producer away (see relay). `report_all` also calls back on success.
    """
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "client.id": client_id,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": linger_ms,
            "message.timeout.ms": 0,
            "delivery.report.only.error": not report_all,
            "message.max.bytes": 2_097_152,  # what the dead-letter topics take
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 262_144,
            "batch.size": 262_144,
            # Halves the broker's work per record (4.0 to 1.5 µs on Tansu) for a µs here.
            "compression.type": "lz4",
            "socket.nagle.disable": True,
        }
    )


def consumer(
    bootstrap: str, group: str, session_timeout_ms: int, client_id: str, longest_round_ms: int = 6_000,
    fetch_wait_ms: int = 500,
) -> Consumer:  # fmt: skip
    """A group member whose offsets come from the ledger: no automatic commit, no automatic reset.

    The assignment protocol is eager (range): every rebalance claims again, which is what fences former owners.
    longest_round_ms: how long the caller may be busy between two polls before the group gives its partitions away.
    fetch_wait_ms: how long the broker may hold an empty fetch; Kafka answers at new data, Tansu at half of it.
    """
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "client.id": client_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "partition.assignment.strategy": "range",
            "session.timeout.ms": session_timeout_ms,
            "heartbeat.interval.ms": max(500, session_timeout_ms // 6),
            # Also the rebalance timeout: how long a group waits for a member that does not come back.
            "max.poll.interval.ms": max(session_timeout_ms, longest_round_ms),
            "fetch.wait.max.ms": fetch_wait_ms,
            "fetch.min.bytes": 1,
            "fetch.error.backoff.ms": 20,
            # Prefetch: enough for a catch-up batch of each partition, little enough to be dropped at a rebalance.
            "queued.min.messages": 10_000,
            "queued.max.messages.kbytes": 32_768,
            "socket.nagle.disable": True,
        }
    )


def _admin(bootstrap: str) -> AdminClient:
    # Level 5: librdkafka tells at level 6 how many events of a finished admin client nobody asked for.
    return AdminClient({"bootstrap.servers": bootstrap, "client.id": "touchstream-admin", "log_level": 5})


def log_identity(bootstrap: str, topics: Iterable[str]) -> tuple[str, dict[str, str]]:
    """(cluster id, topic name → topic id). Raises Retriable when unreachable, Fatal when a topic is missing."""
    admin, names = _admin(bootstrap), list(topics)
    try:
        metadata = admin.list_topics(timeout=ASK_TIMEOUT_S)
        missing = [name for name in names if name not in metadata.topics]
        if missing:
            raise Fatal(f"topics {missing} do not exist on {bootstrap}: create them with `touchstream setup`")
        found = admin.describe_topics(TopicCollection(names), request_timeout=ASK_TIMEOUT_S)
        ids = {name: str(future.result().topic_id) for name, future in found.items()}
    except KafkaException as error:
        raise Retriable(f"Kafka at {bootstrap} does not answer: {error}") from error
    return str(metadata.cluster_id), ids


def end_offsets(bootstrap: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) → the next offset to be written. Topics that do not exist are left out.

    What ListOffsets says is only where the reading begins: Tansu answers the last batch's first offset + 1. The end of
    a fetch is the truth on every broker. Raises Retriable when it does not come within ASK_TIMEOUT_S.
    """
    listed = _offsets(bootstrap, topics, OffsetSpec.latest())  # type: ignore[no-untyped-call]
    ends = {place: 0 for place, offset in listed.items() if offset == 0}
    left = {place: offset for place, offset in listed.items() if offset > 0}
    if not left:
        return ends
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "touchstream-ends",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        reader.assign([TopicPartition(topic, partition, offset) for (topic, partition), offset in left.items()])
        deadline = time.monotonic() + ASK_TIMEOUT_S
        while left and time.monotonic() < deadline:
            for message in reader.consume(1_000, 0.05):
                error, place = message.error(), (message.topic() or "", message.partition() or 0)
                if error is not None and error.code() == KafkaError._PARTITION_EOF and place in left:
                    ends[place] = message.offset() or 0
                    del left[place]
    finally:
        reader.close()
    if left:
        raise Retriable(f"the ends of {sorted(left)} could not be read within {ASK_TIMEOUT_S:.0f} s")
    return ends


def first_offsets(bootstrap: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) → the oldest offset that retention has left."""
    return _offsets(bootstrap, topics, OffsetSpec.earliest())  # type: ignore[no-untyped-call]


def _offsets(bootstrap: str, topics: Iterable[str], spec: OffsetSpec) -> dict[tuple[str, int], int]:
    admin = _admin(bootstrap)
    try:
        metadata = admin.list_topics(timeout=ASK_TIMEOUT_S)
        wanted: dict[Any, OffsetSpec] = {
            TopicPartition(name, partition): spec
            for name in topics
            if name in metadata.topics
            for partition in metadata.topics[name].partitions
        }
        if not wanted:
            return {}
        answers = admin.list_offsets(wanted, request_timeout=ASK_TIMEOUT_S)
        return {(place.topic, place.partition): future.result().offset for place, future in answers.items()}
    except KafkaException as error:
        raise Retriable(f"Kafka at {bootstrap} does not answer: {error}") from error


def group_offsets(bootstrap: str, group: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """Committed offsets of a consumer group; a partition without a commit is left out."""
    ends = end_offsets(bootstrap, topics)
    probe = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        found = probe.committed([TopicPartition(topic, partition) for topic, partition in ends], timeout=ASK_TIMEOUT_S)
        return {(place.topic, place.partition): place.offset for place in found if place.offset >= 0}
    except KafkaException as error:
        raise Retriable(f"Kafka at {bootstrap} does not answer: {error}") from error
    finally:
        probe.close()


def read_range(bootstrap: str, topic: str, partition: int, first: int, last: int) -> list[Record]:
    """The records from offset first to last, both included, read outside any group; blocks up to ASK_TIMEOUT_S.

    Raises Fatal when retention has taken one of them, Retriable when they do not come in time.
    """
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "touchstream-read-back",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
        }
    )
    records: list[Record] = []
    try:
        reader.assign([TopicPartition(topic, partition, first)])
        deadline = time.monotonic() + ASK_TIMEOUT_S
        while not records or records[-1].offset < last:
            for message in reader.consume(1_000, 0.2):
                error = message.error()
                if error is None:
                    records.append(to_record(message))
                elif error.code() in TRUNCATED:
                    raise Fatal(f"{topic} partition {partition}: offsets {first} to {last} are gone ({error})")
            if time.monotonic() > deadline:
                raise Retriable(f"{topic} partition {partition}: offsets {first} to {last} could not be read in time")
    finally:
        reader.close()
    return [record for record in records if record.offset <= last]


def to_record(message: Message) -> Record:
    """A message without error as a Record."""
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key() or b"",
        message.value(),
        {name: cast(bytes, value) or b"" for name, value in dict(message.headers() or ()).items()},
        message.timestamp()[1],
    )
