"""The relay: everything in order and acknowledged, or nothing behind the first failure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.chassis.errors import Retriable
from services.chassis.kafka import relay as relay_module
from services.chassis.kafka.relay import Relay
from services.chassis.records import Decision, Entry, Output
from services.chassis.redis.claim import Claim
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_kafka import FakeBroker, FakeProducer, SendFailure
from services.chassis.testing.fake_ledger import FakeLedger


@dataclass
class Bench:
    """A relay whose producers fail when told to."""

    broker: FakeBroker = field(default_factory=lambda: FakeBroker(lambda: 1))
    producers: int = 0
    trouble: Callable[[str], None] = lambda kind: None

    def __post_init__(self) -> None:
        self.relay = Relay(self.new_producer)
        self.ledger = FakeLedger()

    def new_producer(self) -> Any:
        self.producers += 1
        return FakeProducer(self.broker, lambda kind: self.trouble(kind))

    def claim(self, partition: int = 0) -> Claim:
        return self.ledger.claim(Slot("relay", partition), "in", "cluster", "topic", 0)

    def apply(self, claim: Claim, *outputs: Output) -> Entry:
        return self.ledger.apply(claim, Decision(outputs=list(outputs)), {}, claim.position + 1, 0)

    def log(self, partition: int = 0) -> list[tuple[bytes, bytes | None]]:
        return [(record.headers["seq"], record.value) for record in self.broker.logs["out", partition]]


def out(value: bytes, partition: int = 0) -> Output:
    return Output("out", partition, b"k", value, [("src", b"1.0.1")])


def fails_at(number: int, arrives: bool = False) -> Callable[[str], None]:
    count = iter(range(1, 1_000))

    def trouble(kind: str) -> None:
        if kind == "deliver" and next(count) == number:
            raise SendFailure(arrives)

    return trouble


def test_outputs_of_several_claims_are_sent_and_acknowledged_together() -> None:
    bench = Bench()
    first, second = bench.claim(0), bench.claim(1)
    work = [(first, bench.apply(first, out(b"a"), out(b"b", 1))), (second, bench.apply(second, out(b"c")))]
    bench.relay.send(work)
    assert bench.log(0) == [(b"0:1", b"a"), (b"1:1", b"c")]
    assert bench.log(1) == [(b"0:1", b"b")]
    assert (first.acknowledged, second.acknowledged) == (1, 1)
    assert dict(bench.broker.logs["out", 0][0].headers) == {"src": b"1.0.1", "seq": b"0:1"}


@pytest.mark.parametrize("arrives", [True, False])
def test_after_a_failure_nothing_is_acknowledged_and_the_producer_is_thrown_away(arrives: bool) -> None:
    bench = Bench()
    claim = bench.claim()
    entry = bench.apply(claim, out(b"a"), out(b"b"), out(b"c"))
    bench.trouble = fails_at(2, arrives)
    with pytest.raises(Retriable, match="nothing after it is sent"):
        bench.relay.send([(claim, entry)])
    assert [value for _, value in bench.log()] == [b"a", b"b"] if arrives else [b"a"]
    assert claim.acknowledged == 0
    again = bench.claim()
    bench.trouble = lambda kind: None
    again.restored([entry])
    bench.relay.send([(again, entry)])
    assert bench.log()[-3:] == [(b"0:1", b"a"), (b"0:2", b"b"), (b"0:3", b"c")]
    assert (bench.producers, again.acknowledged) == (2, 1)


def test_one_producer_serves_as_long_as_nothing_fails() -> None:
    bench = Bench()
    claim = bench.claim()
    for value in (b"a", b"b"):
        bench.relay.send([(claim, bench.apply(claim, out(value)))])
    assert (bench.producers, bench.log()) == (1, [(b"0:1", b"a"), (b"0:2", b"b")])


class Stubborn(FakeProducer):
    """A producer whose queue is full for a while, and whose flush never ends."""

    full, left = 0, 0

    def produce(self, *args: Any, **fields: Any) -> None:
        if self.full:
            self.full -= 1
            raise BufferError
        super().produce(*args, **fields)

    def flush(self, timeout_s: float) -> int:
        return self.left or super().flush(timeout_s)


def test_a_full_queue_is_waited_for() -> None:
    bench = Bench()
    producer = Stubborn(bench.broker, lambda kind: None)
    producer.full = 3
    claim = bench.claim()
    Relay(lambda: cast(Any, producer)).send([(claim, bench.apply(claim, out(b"a")))])
    assert bench.log() == [(b"0:1", b"a")]


def test_an_acknowledgement_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    producer = Stubborn(bench.broker, lambda kind: None)
    producer.left = 1
    now_s = iter(range(1_000))
    monkeypatch.setattr(relay_module.time, "monotonic", lambda: float(next(now_s)))
    claim = bench.claim()
    with pytest.raises(Retriable, match="no acknowledgement within 30 s"):
        Relay(lambda: cast(Any, producer)).send([(claim, bench.apply(claim, out(b"a")))])
    assert claim.acknowledged == 0


def test_what_the_client_refuses_is_retriable() -> None:
    def trouble(kind: str) -> None:
        if kind == "produce":
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))

    bench = Bench(trouble=trouble)
    claim = bench.claim()
    with pytest.raises(Retriable):
        bench.relay.send([(claim, bench.apply(claim, out(b"a")))])
