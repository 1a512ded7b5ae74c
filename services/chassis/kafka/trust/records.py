"""Trials of what a broker does to records: each returns when the promise is kept and raises BrokenError when not."""

import threading
from collections.abc import Callable

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Producer
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

from services.chassis.kafka.trust.probe import TIMEOUT_S, BrokenError, Probe, expect, values
from services.chassis.kafka.trust.wire import Wire

A_DAY_LONG_AGO_MS = 86_400_000
OUT_OF_ORDER, DUPLICATE = 45, 46
MANY = 2_000


def as_sent(probe: Probe) -> None:
    """Key, value, tombstone and headers, in their order, also twice the same, empty and without a value."""
    headers = [("seq", b"0:1"), ("b", b""), ("a", b"2"), ("seq", b"0:2"), ("none", None)]
    topic = probe.topic()
    probe.write(topic, b"", b"\x00\xff", None, key=b"key", headers=headers)
    found = probe.read(topic, 3)
    expect(values(found), [b"", b"\x00\xff", None], "values")
    expect([message.key() for message in found], [b"key"] * 3, "keys")
    for message in found:
        expect(message.headers(), headers, "headers")
    expect([message.offset() for message in found], [0, 1, 2], "offsets")


def stamps(probe: Probe) -> None:
    """The broker's time, whatever the producer says."""
    topic = probe.topic()
    probe.write(topic, b"old", timestamp=A_DAY_LONG_AGO_MS)
    found = probe.read(topic, 1)
    expect(values(found), [b"old"], "records")
    kind, stamp_ms = found[0].timestamp()
    expect(kind, TIMESTAMP_LOG_APPEND_TIME, "kind of time stamp")
    if stamp_ms <= A_DAY_LONG_AGO_MS:
        raise BrokenError(f"the record carries the producer's time, {stamp_ms}")


def repeated(probe: Probe) -> None:
    """A batch sent again under the same producer id and sequence (its answer was lost) is stored once."""
    _with_wire(probe, _repeat)


def gap_refused(probe: Probe) -> None:
    """A batch whose predecessor never arrived is refused: order within a producer is kept."""
    _with_wire(probe, _skip)


def _with_wire(probe: Probe, trial: Callable[[Probe, Wire, str], None]) -> None:
    topic = probe.topic()
    metadata = probe.admin.list_topics(topic, timeout=TIMEOUT_S)
    leader = metadata.brokers[metadata.topics[topic].partitions[0].leader]
    wire = Wire(str(leader.host), int(leader.port))
    try:
        trial(probe, wire, topic)
    finally:
        wire.close()


def _repeat(probe: Probe, wire: Wire, topic: str) -> None:
    producer = wire.producer_id()
    for sequence, batch in ((0, [b"1", b"2"]), (0, [b"1", b"2"]), (2, [b"3"]), (0, [b"1", b"2"])):
        answer = wire.produce(topic, producer, sequence, batch)
        # Kafka answers the first time's offset, others that it is a duplicate; clients take both for delivered.
        if answer not in (0, DUPLICATE):
            raise BrokenError(f"the batch of sequence {sequence} is answered by error {answer}")
    expect(values(probe.everything(topic)), [b"1", b"2", b"3"], "in the log")


def _skip(probe: Probe, wire: Wire, topic: str) -> None:
    producer = wire.producer_id()
    expect(wire.produce(topic, producer, 0, [b"1"]), 0, "answer to the first batch")
    expect(wire.produce(topic, producer, 5, [b"6"]), OUT_OF_ORDER, "answer to a batch with a gap before it")


def aborted(probe: Probe) -> None:
    """What a transaction that was aborted wrote is not seen by read_committed."""
    topic = probe.topic()
    producer = Producer(probe.client(transactional_id=f"{topic}.writer"))
    try:
        producer.init_transactions(TIMEOUT_S)
        for value, end in ((b"given up", producer.abort_transaction), (b"kept", producer.commit_transaction)):
            producer.begin_transaction()
            producer.produce(topic, value, partition=0)
            producer.flush(TIMEOUT_S)
            end(TIMEOUT_S)
    except KafkaException as error:
        raise BrokenError(f"transactions fail: {error}") from error
    expect(values(probe.read(topic, 1, isolation_level="read_committed")), [b"kept"], "read_committed sees first")


def too_large(probe: Probe) -> None:
    """A record above the topic's max.message.bytes is refused as too large, and the topic goes on."""
    topic = probe.topic({"max.message.bytes": "10000"})
    answers: list[KafkaError | None] = []
    producer = Producer(probe.client(enable_idempotence=True))
    producer.produce(topic, b"x" * 20_000, partition=0, on_delivery=lambda error, _: answers.append(error))
    producer.flush(TIMEOUT_S)
    codes = [error.code() if error is not None else "stored" for error in answers]
    expect(codes, [KafkaError.MSG_SIZE_TOO_LARGE], "answer to 20,000 bytes where 10,000 are allowed")
    probe.write(topic, b"after it")
    expect(values(probe.read(topic, 1)), [b"after it"], "records")


def two_writers(probe: Probe) -> None:
    """A reader at the end of a partition that two producers write to misses nothing and sees nothing twice."""
    topic = probe.topic()
    with probe.reader(topic, fetch_wait_max_ms=10) as reader:
        writers = [threading.Thread(target=_write_many, args=(probe, topic, name)) for name in (b"a", b"b")]
        for writer in writers:
            writer.start()
        found = reader.take(2 * MANY)
        for writer in writers:
            writer.join()
    wanted = {b"%s%d" % (name, number) for name in (b"a", b"b") for number in range(MANY)}
    seen = values(found)
    if len(seen) != 2 * MANY or set(seen) != wanted:
        raise BrokenError(f"of {2 * MANY} records {len(wanted - set(seen))} were not seen, {len(seen)} seen in all")


def _write_many(probe: Probe, topic: str, name: bytes) -> None:
    producer = Producer(probe.client(enable_idempotence=True, linger_ms=0, batch_num_messages=20))
    for number in range(MANY):
        producer.produce(topic, b"%s%d" % (name, number), partition=0)
        producer.poll(0)
    producer.flush(TIMEOUT_S)


def compaction(probe: Probe) -> None:
    """A topic may be made with cleanup.policy=compact, and says so."""
    topic = probe.topic({"cleanup.policy": "compact"})
    (future,) = probe.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    expect(future.result()["cleanup.policy"].value, "compact", "cleanup.policy")
    probe.write(topic, b"value", key=b"key")
