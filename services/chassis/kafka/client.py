"""Kafka clients with the settings the guarantees rest on."""

import logging
from collections.abc import Callable
from typing import TypeAlias, cast

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka import KafkaException as KafkaException
from confluent_kafka.admin import AdminClient

from services.chassis.records import Record

OnCommit: TypeAlias = Callable[[KafkaError | None, list[TopicPartition]], None]

# What a consumer that may not reset says when its position is not in the log any more.
TRUNCATED = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)

# librdkafka's own lines (a broker that refuses, a member that was too slow) go through logging and become JSON like all
# others (logs.py). They are told from within poll(), so a client that nobody polls any more says nothing.
_LIBRDKAFKA = logging.getLogger("librdkafka")


def producer(bootstrap: str, client_id: str, linger_ms: float = 2.0, report_all: bool = False) -> Producer:
    """An idempotent producer, acks=all, that never gives a message up by itself.

    message.timeout.ms=0: a local time-out would drop one message and send its successors, a gap. Who cannot wait any
    longer purges everything and throws the producer away (see relay). `report_all` also calls back on success.
    """
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "client.id": client_id,
            "logger": _LIBRDKAFKA,
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
    fetch_wait_ms: int = 500, on_commit: OnCommit | None = None,
) -> Consumer:  # fmt: skip
    """A group member whose offsets come from the ledger: no automatic commit, no automatic reset.

    The assignment protocol is eager (range): every rebalance claims again, which is what fences former owners.
    longest_round_ms: how long the caller may be busy between two polls before the group gives its partitions away.
    on_commit: called from within a poll with the broker's answer to a commit.
    fetch_wait_ms: how long the broker may hold an empty fetch; Kafka answers at new data, Tansu at half of it.
    """
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "client.id": client_id,
            "logger": _LIBRDKAFKA,
            "enable.auto.commit": False,
            "on_commit": on_commit or _ignore,
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


def ask_broker(bootstrap: str, timeout_s: float) -> None:
    """Whether a broker answers a new client. Raises KafkaException when none does."""
    AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=timeout_s)


def _ignore(error: KafkaError | None, parts: list[TopicPartition]) -> None:
    pass


def to_record(message: Message) -> Record:
    """A message without error as a Record."""
    headers = cast("list[tuple[str, bytes]]", message.headers() or ())  # text and dicts are for producing only
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key() or b"",
        message.value(),
        {name: value or b"" for name, value in headers},
        message.timestamp()[1],
    )
