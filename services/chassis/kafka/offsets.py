"""What a broker says of its log, outside any group: identity, ends of partitions, a range of records."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.admin._listoffsets import OffsetSpec

from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import fp
from services.chassis.kafka.client import TRUNCATED, to_record
from services.chassis.marks import Mark
from services.chassis.records import Record

ASK_TIMEOUT_S = 10.0
MEMBERS_TIMEOUT_S = 3.0
# Answers of a broker that will not say what a topic's settings are, as opposed to one that is away.
SILENT = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNSUPPORTED_FEATURE,
)
# What a broker answers while a partition is between two leaders, or was created a moment ago: asked again, it knows.
UNSETTLED = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
)
ASK_AGAIN_S = 0.1


def _admin(bootstrap: str) -> AdminClient:
    # Level 5: librdkafka tells at level 6 how many events of a finished admin client nobody asked for.
    return AdminClient({"bootstrap.servers": bootstrap, "client.id": "touchstream-admin", "log_level": 5})


def log_identity(bootstrap: str, topics: Iterable[str]) -> tuple[str, dict[str, str]]:
    """(cluster id, topic name → topic id). Raises Retriable when unreachable, Fatal when a topic is missing."""
    admin, names = _admin(bootstrap), list(topics)
    try:
        fp("before_log_identity", KafkaException)
        metadata = admin.list_topics(timeout=ASK_TIMEOUT_S)
        missing = [name for name in names if name not in metadata.topics]
        if missing:
            raise Fatal(f"topics {missing} do not exist on {bootstrap}: create them with `touchstream setup`")
        found = admin.describe_topics(TopicCollection(names), request_timeout=ASK_TIMEOUT_S)
        ids = {name: str(future.result().topic_id) for name, future in found.items()}
        fp("after_log_identity", KafkaException)
    except KafkaException as error:
        raise Retriable(f"Kafka at {bootstrap} does not answer: {error}") from error
    return str(metadata.cluster_id), ids


def topic_configs(bootstrap: str, topics: Iterable[str]) -> dict[str, dict[str, str | None]]:
    """Topic name → its settings; empty when the broker will not say. Raises Retriable when it does not answer."""
    admin, resources = _admin(bootstrap), [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    found: dict[str, dict[str, str | None]] = {}
    try:
        fp("before_topic_configs", KafkaException)
        answers = admin.describe_configs(resources, request_timeout=ASK_TIMEOUT_S)
        fp("after_topic_configs", KafkaException)
    except KafkaException as error:
        raise Retriable(f"Kafka at {bootstrap} does not answer: {error}") from error
    for resource, future in answers.items():
        try:
            found[resource.name] = {key: entry.value for key, entry in future.result().items()}
        except KafkaException as error:
            if error.args[0].code() not in SILENT:
                raise Retriable(f"Kafka at {bootstrap} does not answer: {error}") from error
            found[resource.name] = {}
    return found


def end_offsets(bootstrap: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) → the next offset to be written. Topics that do not exist are left out.

    What ListOffsets says is only where the reading begins: Tansu answers the last batch's first offset + 1. The end of
    a fetch is the truth on every broker. Raises Retriable when it does not come within ASK_TIMEOUT_S.
    """
    fp("before_end_offsets", Retriable)
    ends = _ends(bootstrap, topics)
    fp("after_end_offsets", Retriable)
    return ends


def _ends(bootstrap: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
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
    fp("before_first_offsets", Retriable)
    firsts = _offsets(bootstrap, topics, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
    fp("after_first_offsets", Retriable)
    return firsts


def _offsets(bootstrap: str, topics: Iterable[str], spec: OffsetSpec) -> dict[tuple[str, int], int]:
    """Raises Retriable when the broker is away, or a partition still without a leader after ASK_TIMEOUT_S."""
    admin, names, deadline = _admin(bootstrap), list(topics), time.monotonic() + ASK_TIMEOUT_S
    while True:
        try:
            return _ask_offsets(admin, names, spec)
        except KafkaException as error:
            if error.args[0].code() not in UNSETTLED or time.monotonic() > deadline:
                raise Retriable(f"Kafka at {bootstrap} does not answer: {error}") from error
        time.sleep(ASK_AGAIN_S)


def _ask_offsets(admin: AdminClient, topics: Iterable[str], spec: OffsetSpec) -> dict[tuple[str, int], int]:
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


def group_offsets(bootstrap: str, group: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """Committed offsets of a consumer group; a partition without a commit is left out."""
    return {place: mark.position for place, mark in group_marks(bootstrap, group, topics).items()}


def group_marks(bootstrap: str, group: str, topics: Iterable[str]) -> dict[tuple[str, int], Mark]:
    """What a consumer group has published; a partition without a commit is left out."""
    return marks_at(bootstrap, group, end_offsets(bootstrap, topics))


def marks_at(bootstrap: str, group: str, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Mark]:
    """The same of these partitions. Raises Retriable when the broker does not answer within ASK_TIMEOUT_S."""
    probe = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        found = probe.committed([TopicPartition(topic, number) for topic, number in places], timeout=ASK_TIMEOUT_S)
        return {
            (place.topic, place.partition): Mark.read(place.offset, place.metadata or "")
            for place in found
            if place.offset >= 0
        }
    except KafkaException as error:
        raise Retriable(f"Kafka at {bootstrap} does not answer: {error}") from error
    finally:
        probe.close()


def group_members(bootstrap: str, groups: Iterable[str]) -> dict[str, int] | None:
    """Consumer group → members it has now; None when the broker does not say (Tansu never answers the question)."""
    try:
        answers = _admin(bootstrap).describe_consumer_groups(list(groups), request_timeout=MEMBERS_TIMEOUT_S)
        return {name: len(future.result(MEMBERS_TIMEOUT_S).members) for name, future in answers.items()}
    except (KafkaException, TimeoutError):
        return None


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
        fp("before_read_back", Retriable)
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
        fp("after_read_back", Retriable)
    finally:
        reader.close()
    return [record for record in records if record.offset <= last]


def read_on(bootstrap: str, topic: str, partition: int, first: int, end: int | None = None) -> Iterator[Record]:
    """The records from offset `first` to where the partition ends when the reading arrives there, outside any group.

    `end`: none from this offset on. Raises Fatal when retention has taken `first`, Retriable when nothing comes for
    ASK_TIMEOUT_S.
    """
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "touchstream-read-on",
            "enable.auto.commit": False,
            # What is fetched ahead of a reader that takes its time; the client's own limit is 64 MB.
            "queued.max.messages.kbytes": 16_384,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    try:
        reader.assign([TopicPartition(topic, partition, first)])
        deadline, next_offset = time.monotonic() + ASK_TIMEOUT_S, first
        while time.monotonic() < deadline:
            # A call waits for as many as it is asked for: never for some that nobody wants.
            for message in reader.consume(1_000 if end is None else min(1_000, max(1, end - next_offset)), 0.2):
                deadline = time.monotonic() + ASK_TIMEOUT_S
                error = message.error()
                if error is None:
                    next_offset = (message.offset() or 0) + 1
                    if end is None or next_offset <= end:
                        yield to_record(message)
                    if end is not None and next_offset >= end:
                        return
                elif error.code() == KafkaError._PARTITION_EOF:
                    return
                elif error.code() in TRUNCATED:
                    raise Fatal(f"{topic} partition {partition}: offset {first} is gone ({error})")
    finally:
        reader.close()
    raise Retriable(f"{topic} partition {partition}: nothing came for {ASK_TIMEOUT_S:.0f} s")
