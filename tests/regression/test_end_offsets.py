"""end_offsets on a real Tansu, whose ListOffsets answers the first offset of the last batch + 1."""

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from services.chassis.kafka.offsets import end_offsets

BATCH = 50
LONG_MS = 60_000  # records wait in the producer until flush(), which sends them as one batch


def test_the_end_of_a_log_is_behind_its_last_batch_not_inside_it(kafka: str) -> None:
    """What lay behind that answer did not seem to exist: a drain ended early, a reader missed the last batch."""
    producer = Producer({"bootstrap.servers": kafka, "acks": "all", "linger.ms": LONG_MS})
    for batch in (1, 2):
        for _ in range(BATCH):
            producer.produce("touchpoints", b"value", partition=1)
        assert producer.flush(20) == 0
        ends = end_offsets(kafka, ["touchpoints"])
        assert ends[("touchpoints", 1)] == batch * BATCH
        assert set(ends.values()) == {0, batch * BATCH}


def test_tansu_still_answers_inside_the_last_batch(kafka: str) -> None:
    """Fails when Tansu is mended: then end_offsets need not read any more."""
    producer = Producer({"bootstrap.servers": kafka, "acks": "all", "linger.ms": LONG_MS})
    for _ in range(BATCH):
        producer.produce("touchpoints", b"value", partition=1)
    assert producer.flush(20) == 0
    asked = {TopicPartition("touchpoints", 1): OffsetSpec.latest()}  # type: ignore[no-untyped-call]
    admin = AdminClient({"bootstrap.servers": kafka})
    (answer,) = admin.list_offsets(asked).values()
    assert answer.result(20).offset == 1
