"""A process that was once too slow for its group said "not ready" until the next record: on an idle topic for ever."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from confluent_kafka import KafkaError

from services.chassis.kafka import client, reader

PLACE = ("t", 0)


class TooSlow:
    """What librdkafka hands out once: the last round took longer than max.poll.interval.ms."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._MAX_POLL_EXCEEDED)

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0


class Group:
    """A consumer that is thrown out of its group at the first poll and let in again at the second."""

    def __init__(self) -> None:
        self.polls = 0
        self._assigned: Callable[[Any, list[Any]], None] = lambda consumer, parts: None

    def subscribe(self, topics: list[str], on_assign: Callable[[Any, list[Any]], None], **others: object) -> None:
        self._assigned = on_assign

    def consume(self, count: int, timeout_s: float) -> list[TooSlow]:
        self.polls += 1
        if self.polls == 1:
            return [TooSlow()]
        if self.polls == 3:
            self._assigned(self, [])
        return []


def test_an_error_is_over_when_the_group_gives_partitions_again() -> None:
    with patch.object(client, "consumer", lambda *settings: Group()):
        one = reader.Reader("", "", 0, "", 0)
    one.subscribe(["t"], lambda places: None, lambda places: None)
    one.read(1, 0.1)
    assert "_MAX_POLL_EXCEEDED" in one.error
    one.read(1, 0.1)
    assert one.error == ""
