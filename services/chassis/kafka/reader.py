"""A group member that reads topics from offsets its owner names.

Knows places (topic, partition) and Records; no ledger, no batches. What the group assigns comes back as callbacks from
within read().
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import fp
from services.chassis.kafka import client
from services.chassis.marks import Mark
from services.chassis.records import Record

# Of a question that is asked once in a deployment's life; a broker that is away must not hold up a rebalance for long.
ASK_TIMEOUT_S = 5.0
Place: TypeAlias = tuple[str, int]
Places = Callable[[list[Place]], None]
# A member without partitions says so in its health after this; a rebalance usually takes a second or two.
TOLD_AFTER_S = 15.0
# Added to two rebalances at their longest before a member that still waits is given up. Lower: a restart for nothing
# while others are slow. Higher: its partitions lie still for longer.
PATIENCE_S = 15.0
ASK_S = 5.0


class Reader:
    """One consumer. Not thread-safe; close() leaves the group."""

    def __init__(
        self, bootstrap: str, group: str, session_timeout_ms: int, client_id: str, longest_round_ms: int,
        gather_s: float = 0.0, fetch_wait_ms: int = 500,
    ) -> None:  # fmt: skip
        """gather_s: how long read() goes on after the first record, so that fewer rounds read more."""
        self._consumer: Consumer = client.consumer(
            bootstrap, group, session_timeout_ms, client_id, longest_round_ms, fetch_wait_ms
        )
        self._gather_s = gather_s
        self._starts = 0
        self._patience_s = (2 * max(session_timeout_ms, longest_round_ms) + session_timeout_ms) / 1000 + PATIENCE_S
        self._waits_since_s: float | None = None  # for the group to say what is ours
        self.error = ""  # the last complaint of the client, for health; empty when reading works

    def subscribe(self, topics: Iterable[str], on_assign: Places, on_revoke: Places) -> None:
        """Join the group. on_assign must call start() for what it wants to read; both are called from within read()."""

        def assigned(consumer: Any, parts: list[TopicPartition]) -> None:
            self.error = ""  # nothing is said of a complaint that is over; on an idle topic no record would either
            self._waits_since_s = None
            on_assign([(part.topic, part.partition) for part in parts])

        def revoked(consumer: Any, parts: list[TopicPartition]) -> None:
            self._waits_since_s = time.monotonic()
            fp("before_revoke", KafkaException)
            on_revoke([(part.topic, part.partition) for part in parts])
            self._consumer.unassign()
            fp("after_revoke", KafkaException)

        self._waits_since_s = time.monotonic()
        fp("before_subscribe", KafkaException)
        self._consumer.subscribe(list(topics), on_assign=assigned, on_revoke=revoked, on_lost=revoked)
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
        if self._waits_since_s is not None:
            self._look_after(time.monotonic() - self._waits_since_s)
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

    def _look_after(self, waited_s: float) -> None:
        """Say that no partitions come; give up when they do not although the broker is there.

        librdkafka can lose the group's coordinator for ever (seen with 2.16 after a broker stood still for 7 s: the
        poll went on, nobody was asked, for as long as one waited). Only a new client helps, so the process ends and
        its orchestrator starts it again.
        """
        if waited_s > TOLD_AFTER_S:
            self.error = f"no partitions from the group for {waited_s:.0f} s"
        if waited_s < self._patience_s:
            return
        try:
            fp("before_ask_broker", KafkaException)
            self._consumer.list_topics(timeout=ASK_S)
            fp("after_ask_broker", KafkaException)
        except KafkaException:  # it is away: that is what there is to wait for
            self._waits_since_s = time.monotonic()
            return
        raise Retriable(
            f"the group has assigned nothing for {waited_s:.0f} s although the broker answers: the client has lost its"
            " coordinator. Nothing is lost; a new process joins the group again"
        )

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
            found = self._consumer.committed([TopicPartition(*place) for place in places], ASK_TIMEOUT_S)
        except KafkaException as error:
            raise Retriable(f"the group's offsets of {places} could not be read: {error}") from error
        if failed := [part.error for part in found if part.error is not None]:
            raise Retriable(f"the group's offsets of {places} could not be read: {failed[0]}")
        return {
            (part.topic, part.partition): Mark.read(part.offset, part.metadata or "")
            for part in found
            if part.offset > 0
        }

    def publish(self, marks: Mapping[Place, Mark]) -> str:
        """Commit marks to the group: for take_over and for dashboards; returns why it failed, empty when it was sent.

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
        return ""

    def close(self) -> None:
        """Leave the group; blocks until the broker knows or the client gives up."""
        fp("before_leave", KafkaException)
        self._consumer.close()
        fp("after_leave", KafkaException)
