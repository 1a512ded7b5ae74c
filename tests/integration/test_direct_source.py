"""The program in schemas/README.md writes a touchpoint that the services read."""

import os
import re
import subprocess
import sys

from confluent_kafka import Consumer, TopicPartition

from services.chassis.avro import Codec
from services.chassis.ids import node_of, partition_of
from services.chassis.schemas import SCHEMAS

DEADLINE_S = 20.0
SECRET = "a deployment's own secret"


def test_the_published_program_keeps_schema_and_key_rule(kafka: str) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (SCHEMAS / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    env = {**os.environ, "TOUCHSTREAM_KAFKA_BOOTSTRAP": kafka, "TOUCHSTREAM_IDENTIFIER_KEY": SECRET}
    run = subprocess.run([sys.executable, "-c", program], cwd=SCHEMAS.parent, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

    message = _written(kafka, "pos-17-000482")
    touchpoint = Codec("touchpoint").decode(message[1])
    assert touchpoint["amount_minor"] == 12900
    assert touchpoint["flags"] == 0
    node = node_of(touchpoint["identifiers"][0], SECRET.encode())
    assert message[0] == node.encode()
    assert message[2] == partition_of(node.encode(), 4)


def _written(bootstrap: str, event_id: str) -> tuple[bytes, bytes, int]:
    """(key, value, partition) of the touchpoint with that id, wherever it lies."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "direct-source-test"})
    try:
        partitions = consumer.list_topics("touchpoints", timeout=DEADLINE_S).topics["touchpoints"].partitions
        consumer.assign([TopicPartition("touchpoints", partition, 0) for partition in partitions])
        while True:
            message = consumer.poll(DEADLINE_S)
            assert message is not None, f"no touchpoint {event_id} in {DEADLINE_S:.0f} s"
            assert message.error() is None
            key, value, partition = message.key(), message.value(), message.partition()
            if key is not None and value is not None and partition is not None and event_id.encode() in value:
                return key, value, partition
    finally:
        consumer.close()
