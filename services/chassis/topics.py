"""The topics of schemas/topics.toml, and the one place that creates them."""

import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from services.chassis.errors import Fatal, Retriable
from services.chassis.schemas import SCHEMAS

TOPICS_FILE = SCHEMAS / "topics.toml"
# Asking a broker: longer only delays the news that it is away.
ADMIN_TIMEOUT_S = 10.0
# Three copies survive one broker's loss without refusing writes (two must hold a record); a fourth buys nothing here.
MAX_REPLICAS = 3
# What must be as we say on a topic that exists already; retention is the operator's to change.
FIXED_CONFIGS = ("cleanup.policy", "message.timestamp.type")


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; the fields mean what the head of topics.toml says."""

    name: str
    key: str
    records: tuple[str, ...]
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    partitions: int
    value: str
    cleanup: str
    retention_ms: int
    max_message_bytes: int


def load_topics(path: Path | str = TOPICS_FILE) -> dict[str, Topic]:
    """The topics of a file by name, in its order. Raises Fatal naming the topic and the key that is wrong."""
    document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    defaults: Mapping[str, Any] = document.get("defaults", {})
    topics: dict[str, Topic] = {}
    for entry in document.get("topic", []):
        topic = _topic({**defaults, **entry}, str(path))
        if topic.name in topics:
            raise Fatal(f"{path}: topic {topic.name} stands there twice")
        topics[topic.name] = topic
    return topics


def _topic(entry: Mapping[str, Any], path: str) -> Topic:
    expected = {field.name for field in fields(Topic)}
    wrong = sorted(expected.symmetric_difference(entry))
    if wrong:
        raise Fatal(f"{path}: topic {entry.get('name', '(no name)')}: missing or unknown: {', '.join(wrong)}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    topic = Topic(**values)
    if topic.cleanup not in ("delete", "compact") or topic.value != "avro" or topic.partitions < 1:
        raise Fatal(f"{path}: topic {topic.name}: cleanup is delete or compact, value is avro, partitions at least 1")
    return topic


def assert_partitions(places: Iterable[tuple[str, int]], partitions: int) -> None:
    """Refuse topics that have another number of partitions than we were told. `places`: all (topic, partition).

    Raises Fatal.
    """
    counts = Counter(topic for topic, _ in places)
    wrong = [f"topic {name} has {count} partitions" for name, count in sorted(counts.items()) if count != partitions]
    if wrong:
        raise Fatal(
            f"{', '.join(wrong)}, TOUCHSTREAM_PARTITIONS is {partitions}. Keys would be sent to other owners than they"
            " have. Set the variable to what the deployment started with, the same for all services."
        )


def create_topics(
    bootstrap: str, topics: Iterable[Topic], partitions: int | None = None, replicas: int = 0
) -> list[str]:
    """Create what is missing, check what exists; the names created. Doing it again, or twice at once, changes nothing.

    partitions overrides the topics' own. Copies: `replicas`; 0: as many as there are brokers, at most 3. All but one
    must hold a record before it counts as written. Blocks until the broker shows every topic, at most about 40 s.
    Raises Fatal when an existing topic has another number of partitions, fewer copies than `replicas`, another clean-up
    or time stamp type; Retriable when the broker is away, or fewer brokers than `replicas` are there.
    """
    wanted = [replace(topic, partitions=partitions or topic.partitions) for topic in topics]
    admin = AdminClient({"bootstrap.servers": bootstrap, "client.id": "touchstream-topics", "log_level": 5})
    try:
        metadata = admin.list_topics(timeout=ADMIN_TIMEOUT_S)
        missing = [topic for topic in wanted if topic.name not in metadata.topics]
        if len(metadata.brokers) < replicas:
            raise Retriable(f"topics are to have {replicas} copies, and {len(metadata.brokers)} brokers are there")
        created = _create(admin, missing, replicas or min(MAX_REPLICAS, len(metadata.brokers)))
        _check_partitions(admin, wanted, replicas)
        _check_configs(admin, wanted)
    except KafkaException as error:
        raise Retriable(f"creating topics on {bootstrap}: {error.args[0]}") from error
    return created


def configs(topic: Topic, replicas: int) -> dict[str, str]:
    """The broker's settings of a topic."""
    kept = "delete.retention.ms" if topic.cleanup == "compact" else "retention.ms"
    return {
        "cleanup.policy": topic.cleanup,
        kept: str(topic.retention_ms),
        # A client's clock must not steer retention.
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": str(max(1, replicas - 1)),
        # A leader without the last records would take acknowledged ones away.
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(topic.max_message_bytes),
    }


def _create(admin: AdminClient, missing: list[Topic], replicas: int) -> list[str]:
    if not missing:
        return []
    requests = [
        NewTopic(t.name, num_partitions=t.partitions, replication_factor=replicas, config=configs(t, replicas))
        for t in missing
    ]
    created = []
    for name, future in admin.create_topics(requests, request_timeout=ADMIN_TIMEOUT_S).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as error:
            # Somebody else was faster: what they made is checked like any other.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return created


def _check_partitions(admin: AdminClient, wanted: list[Topic], replicas: int) -> None:
    # A broker answers "created" before every other broker shows the topic.
    deadline = time.monotonic() + ADMIN_TIMEOUT_S
    while True:
        found = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
        unseen = [topic.name for topic in wanted if topic.name not in found or not found[topic.name].partitions]
        if not unseen:
            break
        if time.monotonic() > deadline:
            raise Retriable(f"topics {', '.join(unseen)} were created but do not show after {ADMIN_TIMEOUT_S:.0f} s")
        time.sleep(0.05)
    wrong = [
        f"{topic.name} has {len(found[topic.name].partitions)}, expected {topic.partitions}"
        for topic in wanted
        if len(found[topic.name].partitions) != topic.partitions
    ]
    if wrong:
        raise Fatal(
            f"number of partitions: {'; '.join(wrong)}. It is fixed for the life of a deployment, because another one "
            "gives a customer two owners: set TOUCHSTREAM_PARTITIONS to the number found, or start with empty topics"
        )
    copies = {
        topic.name: min(len(partition.replicas) for partition in found[topic.name].partitions.values())
        for topic in wanted
    }
    few = [name for name, number in copies.items() if number < replicas]
    if few:
        raise Fatal(
            f"topics with fewer than {replicas} copies: {', '.join(few)}. Give them more with "
            "kafka-reassign-partitions.sh, or lower TOUCHSTREAM_REPLICAS"
        )


def _check_configs(admin: AdminClient, wanted: list[Topic]) -> None:
    resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in wanted]
    by_name = {topic.name: topic for topic in wanted}
    wrong = []
    for resource, future in admin.describe_configs(resources, request_timeout=ADMIN_TIMEOUT_S).items():
        expected, found = configs(by_name[resource.name], 1), future.result()
        wrong += [
            f"{resource.name} has {key}={found[key].value}, expected {expected[key]}"
            for key in FIXED_CONFIGS
            if key in found and found[key].value != expected[key]
        ]
    if wrong:
        raise Fatal(
            f"settings of existing topics: {'; '.join(wrong)}. Change them with kafka-configs.sh --alter --entity-type "
            "topics, or start with empty topics"
        )
