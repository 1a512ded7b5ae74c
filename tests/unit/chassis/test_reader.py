"""The reader of archive and of operators' tools, on a Kafka in memory."""

from unittest.mock import patch

import pytest

from services.chassis.kafka import client, reader
from services.chassis.records import Record
from services.chassis.testing.fake_kafka import FakeBroker, FakeConsumer

PLACE = ("t", 0)


class Member:
    """A group member; `before_poll` runs inside its n-th call of consume."""

    def __init__(self, broker: FakeBroker) -> None:
        self.polls = 0
        self.plan: dict[int, object] = {}
        self.consumer = FakeConsumer(broker, self, self.point, lambda seconds: None)

    def point(self, kind: str) -> None:
        self.polls += 1
        act = self.plan.pop(self.polls, None)
        if callable(act):
            act()


@pytest.fixture
def broker() -> FakeBroker:
    broker = FakeBroker(lambda: 1)
    for _ in range(10):
        broker.append(Record(*PLACE, -1, b"k", b"v", {}, 0))
    return broker


def test_what_was_polled_before_a_rebalance_is_read_again_not_twice(broker: FakeBroker) -> None:
    member = Member(broker)
    with patch.object(client, "consumer", lambda *settings: member.consumer):
        one = reader.Reader("", "", 0, "", 0)
    positions = iter([5, 2])
    one.subscribe(["t"], lambda places: one.start({PLACE: next(positions)}), lambda places: None)
    broker.assign({PLACE: member})
    member.plan[2] = lambda: broker.assign({PLACE: member})  # inside the second consume of the first read
    offsets = [record.offset for record in one.read(100, 0.1).get(PLACE, [])]
    assert offsets == [2, 3, 4, 5, 6, 7, 8, 9]
