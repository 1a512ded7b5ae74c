"""A group member polled on for ever without partitions, healthy to look at, after its broker had stood still.

Found by tests/chaos, seed 5 on shape single (SIGSTOP of the broker): librdkafka 2.16 had lost the coordinator and asked
nobody any more; identity, and another time archive, did nothing until they were restarted.
"""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from confluent_kafka import KafkaException, TopicPartition

from services.chassis.errors import Retriable
from services.chassis.kafka import client, membership, reader
from services.chassis.testing.fake_kafka import FakeBroker, FakeConsumer

PLACE = ("t", 0)
SESSION_MS, ROUND_MS = 6_000, 45_000
PATIENCE_S = 2 * 45 + 6 + membership.PATIENCE_S


class Clock:
    """The reader's time."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s


class Member:
    """A reader on a broker that may answer and assign, or not."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker, self.is_broker_away, self.is_coordinator_lost = broker, False, False
        broker.generation = -1  # nobody is told anything before assign()
        self.consumer = FakeConsumer(broker, self, lambda kind: None, lambda seconds: None)
        self.consumer.committed = self.committed  # type: ignore[method-assign]
        with patch.object(client, "consumer", lambda *settings: self.consumer):
            self.reader = reader.Reader("", "", SESSION_MS, "", ROUND_MS)
        self.reader.subscribe(["t"], lambda places: self.reader.start({PLACE: 0}), lambda places: None)

    def assign(self) -> None:
        self.broker.assign({PLACE: self})

    def ask_broker(self, bootstrap: str, timeout_s: float) -> None:
        if self.is_broker_away:
            raise KafkaException("away")

    def committed(self, parts: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
        if self.is_coordinator_lost:
            raise KafkaException("timed out")
        return parts


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    with patch.object(membership, "time", made):
        yield made


@pytest.fixture
def member(clock: Clock) -> Iterator[Member]:
    made = Member(FakeBroker(lambda: 1))
    with patch.object(client, "ask_broker", made.ask_broker):
        yield made


def test_a_member_whose_group_never_answers_gives_up_so_that_it_is_started_again(member: Member, clock: Clock) -> None:
    member.reader.read(1, 0.0)
    clock.now_s += PATIENCE_S + 1
    with pytest.raises(Retriable, match="lost its coordinator"):
        member.reader.read(1, 0.0)


def test_a_member_whose_client_has_lost_the_coordinator_gives_up_at_the_third_look(
    member: Member, clock: Clock
) -> None:
    member.is_coordinator_lost = True
    clock.now_s += membership.TOLD_AFTER_S + 1
    for _ in range(membership.SILENT_LOOKS - 1):
        member.reader.read(1, 0.0)
        member.reader.read(1, 0.0)  # too soon for another look
        clock.now_s += membership.LOOK_S + 1
    with pytest.raises(Retriable, match="lost its coordinator"):
        member.reader.read(1, 0.0)


def test_a_coordinator_that_answers_again_is_waited_for(member: Member, clock: Clock) -> None:
    clock.now_s += membership.TOLD_AFTER_S + 1
    for look in range(2 * membership.SILENT_LOOKS):
        member.is_coordinator_lost = look % membership.SILENT_LOOKS != 0
        member.reader.read(1, 0.0)
        clock.now_s += membership.LOOK_S + 1
    assert "no partitions from the group" in member.reader.error


def test_a_member_that_waits_is_not_healthy(member: Member, clock: Clock) -> None:
    clock.now_s += membership.TOLD_AFTER_S + 1
    member.reader.read(1, 0.0)
    assert "no partitions from the group for 16 s" in member.reader.error
    member.assign()
    member.reader.read(1, 0.0)
    assert member.reader.error == ""


def test_a_member_that_lost_its_partitions_and_gets_none_gives_up_too(member: Member, clock: Clock) -> None:
    member.assign()
    member.reader.read(1, 0.0)
    clock.now_s += 10 * PATIENCE_S
    member.consumer._on_revoke(member.consumer, [TopicPartition(*PLACE)])
    member.reader.read(1, 0.0)
    clock.now_s += PATIENCE_S + 1
    with pytest.raises(Retriable):
        member.reader.read(1, 0.0)


def test_while_the_broker_is_away_a_member_waits_for_it(member: Member, clock: Clock) -> None:
    member.is_broker_away = True
    clock.now_s += PATIENCE_S + 1
    member.reader.read(1, 0.0)
    clock.now_s += PATIENCE_S - 1
    member.is_broker_away = False
    member.reader.read(1, 0.0)  # counts from when the broker was last away


def test_a_member_without_partitions_of_its_own_does_not_wait(member: Member, clock: Clock) -> None:
    member.assign()
    member.reader.read(1, 0.0)
    clock.now_s += 10 * PATIENCE_S
    member.reader.read(1, 0.0)
    assert member.reader.error == ""
