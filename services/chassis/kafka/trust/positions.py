"""Trials of what a broker says of places in a log: ends, positions, commits, identities, and what survives kill -9."""

from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec

from services.chassis.kafka.client import TRUNCATED
from services.chassis.kafka.trust.probe import TIMEOUT_S, BrokenError, Probe, expect, values, within

COUNT = 10


def ends(probe: Probe) -> None:
    """ListOffsets names the first offset and the one behind the last record, also in the middle of nothing."""
    topic = probe.topic()
    expect(_listed(probe, topic), (0, 0), "first offset and end of an empty partition")
    probe.write(topic, *[b"value"] * COUNT)
    expect(_listed(probe, topic), (0, COUNT), f"first offset and end after a batch of {COUNT}")


def _listed(probe: Probe, topic: str) -> tuple[int, int]:
    found = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call]
        wanted: dict[Any, OffsetSpec] = {TopicPartition(topic, 0): spec}
        (future,) = probe.admin.list_offsets(wanted, request_timeout=TIMEOUT_S).values()
        found.append(int(future.result().offset))
    return found[0], found[1]


def beyond(probe: Probe) -> None:
    """A position behind the end (the log was cut) is an error for a reader with auto.offset.reset=error."""
    topic = probe.topic()
    probe.write(topic, *[b"value"] * COUNT)
    _expect_truncated(probe, topic, COUNT + 5)


def deleted(probe: Probe) -> None:
    """A position before the first record (retention took it) is an error too, and the first offset has moved."""
    topic = probe.topic()
    probe.write(topic, *[b"value"] * COUNT)
    try:
        (future,) = probe.admin.delete_records([TopicPartition(topic, 0, COUNT // 2)]).values()
        future.result()
    except KafkaException as error:
        raise BrokenError(f"records cannot be deleted, so nobody can tell: {error}") from error
    _expect_truncated(probe, topic, 0)
    expect(_listed(probe, topic), (COUNT // 2, COUNT), "first offset and end")


def _expect_truncated(probe: Probe, topic: str, offset: int) -> None:
    found = probe.read(topic, 1, offset)
    if not found:
        raise BrokenError(f"a reader at offset {offset} hears nothing")
    error = found[0].error()
    if error is None or error.code() not in TRUNCATED:
        raise BrokenError(f"a reader at offset {offset} gets {error or f'the record of offset {found[0].offset()}'}")


def commits(probe: Probe) -> None:
    """A group's committed offset is what is read back, by another client."""
    topic = probe.topic()
    probe.write(topic, *[b"value"] * COUNT)
    _commit(probe, topic, 7)
    expect(_committed(probe, topic), 7, "committed offset")


def outsider(probe: Probe) -> None:
    """Who is not a member of a group that has members cannot commit for it: a replaced worker is fenced."""
    topic = probe.topic()
    probe.write(topic, *[b"value"] * COUNT)
    settings = probe.client(
        group_id=topic, auto_offset_reset="earliest", enable_auto_commit=False, session_timeout_ms=10_000
    )
    member = Consumer(settings)
    try:
        member.subscribe([topic])
        within(lambda: bool(member.poll(0.5)) and bool(member.assignment()), "a member gets nothing to read")
        try:
            _commit(probe, topic, 1)
        except KafkaException as error:
            expect(error.args[0].code(), KafkaError.UNKNOWN_MEMBER_ID, "answer to the commit of an outsider")
        else:
            raise BrokenError("a commit by somebody who is not a member is taken")
    finally:
        member.close()


def identity(probe: Probe) -> None:
    """Cluster id and topic id stay the same; a topic that is made anew under its old name has another one."""
    topic = probe.topic()
    first, second = _identity(probe, topic), _identity(probe, topic)
    expect(second, first, "cluster and topic id asked twice")
    if not all(first):
        raise BrokenError(f"ids are missing: {first}")


def records_survive(probe: Probe) -> None:
    """A record that was acknowledged is there after kill -9 and a new start of the broker, and so are its ids."""
    topic = probe.topic()
    probe.write(topic, *[b"%d" % number for number in range(COUNT)])
    before = _identity(probe, topic)
    _kill_and_start(probe)
    expect(values(probe.everything(topic)), [b"%d" % number for number in range(COUNT)], "records after kill -9")
    expect(_identity(probe, topic), before, "cluster and topic id after kill -9")


def commits_survive(probe: Probe) -> None:
    """A group's committed offset is there after kill -9 and a new start of the broker."""
    topic = probe.topic()
    probe.write(topic, *[b"value"] * COUNT)
    _commit(probe, topic, 7)
    _kill_and_start(probe)
    expect(_committed(probe, topic), 7, "committed offset after kill -9")


def _kill_and_start(probe: Probe) -> None:
    if probe.kill_and_start is None:
        raise ValueError("this trial needs a broker that may be killed")
    probe.kill_and_start()


def _commit(probe: Probe, topic: str, offset: int) -> None:
    writer = Consumer(probe.client(group_id=topic, enable_auto_commit=False))
    try:
        writer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    finally:
        writer.close()


def _committed(probe: Probe, topic: str) -> int:
    reader = Consumer(probe.client(group_id=topic, enable_auto_commit=False))
    try:
        (place,) = reader.committed([TopicPartition(topic, 0)], timeout=TIMEOUT_S)
    except KafkaException as error:
        raise BrokenError(f"the committed offset cannot be read: {error}") from error
    finally:
        reader.close()
    return int(place.offset)


def _identity(probe: Probe, topic: str) -> tuple[str, str]:
    admin = probe.admin
    cluster = admin.list_topics(timeout=TIMEOUT_S).cluster_id
    (future,) = admin.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S).values()
    try:
        return str(cluster), str(future.result().topic_id)
    except KafkaException as error:
        raise BrokenError(f"the topic is not there: {error}") from error
