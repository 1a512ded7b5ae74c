"""What a cluster says of itself: which brokers live, who leads a partition, who has all of it."""

import socket

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, PartitionMetadata  # type: ignore[attr-defined]

ASK_TIMEOUT_S = 2.0


def live_brokers(bootstrap: str) -> set[int]:
    """Ids of the brokers that the first to answer takes for alive; empty when none answers within about 2 s."""
    # A bare connection first: the Kafka client would wait, and write its disappointment to the terminal.
    reachable = [address for address in bootstrap.split(",") if _accepts(address)]
    if not reachable:
        return set()
    try:
        return set(_admin(",".join(reachable)).list_topics(timeout=ASK_TIMEOUT_S).brokers)
    except KafkaException:
        return set()


def leader(bootstrap: str, topic: str, partition: int) -> int:
    """The broker that leads a partition; -1 while none does, nobody answers or there is no such partition."""
    found = _partition(bootstrap, topic, partition)
    return -1 if found is None else found.leader


def in_sync(bootstrap: str, topic: str, partition: int) -> list[int]:
    """The brokers that have all of a partition; empty when nobody answers or there is no such partition."""
    found = _partition(bootstrap, topic, partition)
    return [] if found is None else sorted(found.isrs)


def _partition(bootstrap: str, topic: str, partition: int) -> PartitionMetadata | None:
    try:
        topics = _admin(bootstrap).list_topics(topic, timeout=ASK_TIMEOUT_S).topics
    except KafkaException:
        return None
    return topics[topic].partitions.get(partition) if topic in topics else None


def _admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "client.id": "touchstream-brokers", "log_level": 2})


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True
