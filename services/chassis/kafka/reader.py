"""A group member that reads topics from offsets its owner names.

Knows places (topic, partition) and Records; no ledger, no batches. What the group assigns comes back as callbacks from
within read().
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import fp
from services.chassis.kafka import client
from services.chassis.kafka.membership import Membership
from services.chassis.marks import Mark
from services.chassis.records import Record

# Of a question that is asked before every claim; a coordinator that is away must not hold up a rebalance for long.
ASK_TIMEOUT_S = 5.0
Place: TypeAlias = tuple[str, int]
Places = Callable[[list[Place]], None]


class Reader:
    """One consumer. Not thread-safe; close() leaves the group."""

    def __init__(
        self, bootstrap: str, group: str, session_timeout_ms: int, client_id: str, longest_round_ms: int,
        gather_s: float = 0.0, fetch_wait_ms: int = 500,
    ) -> None:  # fmt: skip
        """gather_s: how long read() goes on after the first record, so that fewer rounds read more."""
        self._consumer: Consumer = client.consumer(
            bootstrap, group, session_timeout_ms, client_id, longest_round_ms, fetch_wait_ms, self._on_commit
        )
        self._gather_s = gather_s
        self._starts = 0
        self._membership = Membership(
            self._consumer, lambda timeout_s: client.ask_broker(bootstrap, timeout_s),
            session_timeout_ms / 1000, longest_round_ms / 1000,
        )  # fmt: skip
        self._topics: list[str] = []
        self._commit_error = ""
        self.error = ""  # the last complaint of the client, for health; empty when reading works

    def subscribe(self, topics: Iterable[str], on_assign: Places, on_revoke: Places) -> None:
        """Join the group. on_assign must call start() for what it wants to read; both are called from within read()."""

        def assigned(consumer: Any, parts: list[TopicPartition]) -> None:
            self.error = ""  # nothing is said of a complaint that is over; on an idle topic no record would either
            self._membership.told()
            on_assign([(part.topic, part.partition) for part in parts])

        def revoked(consumer: Any, parts: list[TopicPartition]) -> None:
            self._membership.waits(self._topics[0])
            fp("before_revoke", KafkaException)
            on_revoke([(part.topic, part.partition) for part in parts])
            self._consumer.unassign()
            fp("after_revoke", KafkaException)

        self._topics = sorted(topics)
        self._membership.waits(self._topics[0])
        fp("before_subscribe", KafkaException)
        self._consumer.subscribe(self._topics, on_assign=assigned, on_revoke=revoked, on_lost=revoked)
        fp("after_subscribe", KafkaException)

    def start(self, offsets: Mapping[Place, int]) -> None:
        """Read exactly these places from these offsets; replaces what was read before, nothing is paused afterwards."""
        places = [TopicPartition(topic, partition, at) for (topic, partition), at in offsets.items()]
        fp("before_assign", KafkaException)
        self._consumer.assign(places)
        self._starts += 1
        # The client keeps a partition's pause across assignments.
        self._consumer.resume(places)
        fp("after_assign", KafkaException)

    def read(self, most: int, timeout_s: float) -> dict[Place, list[Record]]:
        """What has arrived, at most `most` records; waits up to timeout_s for the first.

        Raises Fatal (see _refuse), and Retriable when the group has forgotten this member for good.
        """
        self.error = self._membership.complaint() or self.error
        fp("before_poll", KafkaException)
        messages = self._consumer.consume(1, timeout_s)
        if messages:
            before = self._starts
            more = self._consumer.consume(most - 1, self._gather_s)
            # Started anew inside the second call: everything is read again from the positions named there.
            messages = messages + more if self._starts == before else more
            fp("after_poll", KafkaException)
        found: dict[Place, list[Record]] = {}
        for message in messages:
            if message.error() is not None:
                self._refuse(message)
                continue
            self.error = ""
            record = client.to_record(message)
            found.setdefault((record.topic, record.partition), []).append(record)
        return found

    def _refuse(self, message: Message) -> None:
        error = message.error()
        if error is not None and error.code() in client.TRUNCATED:
            raise Fatal(
                f"{message.topic()} partition {message.partition()}: the ledger's position is not in the log any more"
                f" ({error}). Retention was shorter than the outage. Restore the log; what is gone for good is"
                " given up with `touchstream rebase --to` (services/chassis/README.md, When records are missing)."
            )
        self.error = str(error)

    def pause(self, places: Iterable[Place]) -> None:
        """Stop reading these places until resume()."""
        self._consumer.pause([TopicPartition(*place) for place in places])

    def resume(self, places: Iterable[Place]) -> None:
        """Read these places again, from where they were paused."""
        self._consumer.resume([TopicPartition(*place) for place in places])

    def end(self, place: Place) -> int | None:
        """The next offset the broker will write, as last heard; None before the first answer."""
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        except KafkaException:
            return None
        return high if high >= 0 else None

    def committed(self, places: list[Place]) -> dict[Place, Mark]:
        """What the group has last published for places, by whatever process; nothing: not in it. Raises Retriable."""
        try:
            fp("before_committed", KafkaException)
            found = self._consumer.committed([TopicPartition(*place) for place in places], ASK_TIMEOUT_S)
            fp("after_committed", KafkaException)
        except KafkaException as error:
            raise Retriable(f"the group's offsets of {places} could not be read: {error}") from error
        if failed := [part.error for part in found if part.error is not None]:
            raise Retriable(f"the group's offsets of {places} could not be read: {failed[0]}")
        return {
            (part.topic, part.partition): Mark.read(part.offset, part.metadata or "")
            for part in found
            if part.offset > 0 or (part.offset == 0 and part.metadata)
        }

    def publish(self, marks: Mapping[Place, Mark]) -> str:
        """Commit marks to the group: for take_over and for dashboards. Returns why this one or the last one failed.

        Nobody waits for the broker's answer: a Redis that loses its last milliseconds while this process dies as well
        before the commit has left it is not found out.
        """
        try:
            fp("before_commit", KafkaException)
            self._consumer.commit(
                offsets=[
                    TopicPartition(topic, partition, mark.position, mark.text)
                    for (topic, partition), mark in marks.items()
                ],
                asynchronous=True,
            )
            fp("after_commit", KafkaException)
        except KafkaException as error:
            return str(error)
        failed, self._commit_error = self._commit_error, ""
        return failed

    def _on_commit(self, error: KafkaError | None, parts: list[TopicPartition]) -> None:
        failed = [error, *(part.error for part in parts or ())]
        self._commit_error = next((str(one) for one in failed if one is not None), "")

    def close(self) -> None:
        """Leave the group; blocks until the broker knows or the client gives up."""
        fp("before_leave", KafkaException)
        self._consumer.close()
        fp("after_leave", KafkaException)
