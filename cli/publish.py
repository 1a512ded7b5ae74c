"""Records of an operator straight into topics, acknowledged by all replicas."""

from collections.abc import Sequence
from typing import Any

from services.chassis.errors import Fatal, Retriable
from services.chassis.kafka.client import producer
from services.chassis.kafka.offsets import end_offsets
from services.chassis.records import Output

FLUSH_S = 30.0


def partitions_of(bootstrap: str, topic: str) -> int:
    """How many partitions a topic has on the broker, whatever the settings say. Raises Fatal when it does not exist."""
    count = sum(1 for name, _ in end_offsets(bootstrap, [topic]) if name == topic)
    if not count:
        raise Fatal(f"topic {topic} does not exist on {bootstrap}: create it with `touchstream setup`")
    return count


def publish(bootstrap: str, outputs: Sequence[Output]) -> dict[tuple[str, int], int]:
    """Write them, acks=all; returns the highest offset per (topic, partition).

    Raises Retriable when the broker did not acknowledge all of them within FLUSH_S; some may be there all the same.
    """
    written: dict[tuple[str, int], int] = {}
    failures: list[str] = []

    def on_delivery(error: Any, message: Any) -> None:
        if error is not None:
            failures.append(str(error))
        else:
            written[message.topic(), message.partition()] = message.offset()

    client = producer(bootstrap, "touchstream-cli", report_all=True)
    for one in outputs:
        client.produce(one.topic, one.value, one.key, one.partition, on_delivery, headers=list(one.headers))
        client.poll(0)
    left = client.flush(FLUSH_S)
    if left or failures:
        client.purge()
        why = failures[0] if failures else f"no acknowledgement for {left} of {len(outputs)} within {FLUSH_S:.0f} s"
        raise Retriable(f"Kafka at {bootstrap}: {why}")
    return written
