"""Offsets of a partition that has no leader yet: Apache Kafka shows a topic before its brokers lead it.

A service started right after `touchstream setup`, or during an election, ended with "not leader for partition".
"""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.chassis.errors import Retriable
from services.chassis.kafka import offsets


class Admin:
    """A broker that answers `errors`, one a call, before it knows: the partition ends at 7."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)

    def list_topics(self, timeout: float) -> object:
        return SimpleNamespace(topics={"triggers": SimpleNamespace(partitions={0: None})})

    def list_offsets(self, wanted: dict[Any, object], request_timeout: float) -> dict[Any, "Future[object]"]:
        answer: Future[object] = Future()
        if self.errors:
            answer.set_exception(KafkaException(KafkaError(self.errors.pop(0))))
        else:
            answer.set_result(SimpleNamespace(offset=7))
        return dict.fromkeys(wanted, answer)


def ask(monkeypatch: pytest.MonkeyPatch, admin: Admin) -> dict[tuple[str, int], int]:
    monkeypatch.setattr(offsets, "_admin", lambda _: admin)
    return offsets.first_offsets("127.0.0.1:1", ["triggers"])


def test_a_partition_between_two_leaders_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = Admin(KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
    assert ask(monkeypatch, admin) == {("triggers", 0): 7}
    assert admin.errors == []


def test_one_that_gets_no_leader_is_said_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "ASK_TIMEOUT_S", 0.3)
    with pytest.raises(Retriable, match="Not leader for partition"):
        ask(monkeypatch, Admin(*[KafkaError.NOT_LEADER_FOR_PARTITION] * 1_000))


def test_another_answer_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = Admin(*[KafkaError.TOPIC_AUTHORIZATION_FAILED] * 2)
    with pytest.raises(Retriable, match="authorization failed"):
        ask(monkeypatch, admin)
    assert len(admin.errors) == 1
