"""What the Faust driver is told; each guards a private corner of a library that an update may move."""

from collections.abc import Callable
from typing import Any

import aiokafka
import pytest

from services.chassis.clock import now_ms
from services.chassis.errors import Fatal, Retriable
from services.chassis.health import Health
from services.chassis.records import Output
from services.chassis.settings import load_settings
from services.notify import driver, metrics
from services.notify.app import Stream, _record
from services.notify.settings import NotifySettings

Look = Callable[[], list[driver.Owned]]
OUTPUT = Output("deliveries", 1, b"key", b"value", [("seq", b"1:1")])


def opened(**environ: str) -> Stream:
    return Stream(load_settings(NotifySettings, environ), Health())


@pytest.fixture
async def stream() -> Stream:
    return opened(TOUCHSTREAM_KAFKA_SESSION_TIMEOUT_MS="6000", TOUCHSTREAM_NOTIFY_FETCH_WAIT_MS="33")


async def test_the_consumer_fetches_with_a_short_wait_and_a_short_session(stream: Stream) -> None:
    consumer = stream.app.transport.create_consumer(
        callback=lambda message: None, on_partitions_revoked=None, on_partitions_assigned=None
    )
    assert isinstance(consumer, driver._Consumer)
    found = consumer._thread._create_worker_consumer(stream.app.transport)  # type: ignore[arg-type]
    assert isinstance(found, aiokafka.AIOKafkaConsumer)
    assert found._fetch_max_wait_ms == 33
    assert found._session_timeout_ms == 6_000
    assert found._rebalance_timeout_ms == 6_000
    assert found._enable_auto_commit is False
    assert found._auto_offset_reset == "earliest"


async def test_the_app_keeps_no_state_and_no_web_server(stream: Stream) -> None:
    conf = stream.app.conf
    assert (conf.web_enabled, conf.topic_allow_declare, conf.topic_disable_leader) == (False, False, True)
    assert conf.id == "touchstream-notify"
    assert conf.processing_guarantee.name == "AT_LEAST_ONCE"


async def test_several_bootstrap_servers_are_understood() -> None:
    found = opened(TOUCHSTREAM_KAFKA_BOOTSTRAP="a:1, b:2")
    assert [f"{url.host}:{url.port}" for url in found.app.conf.broker] == ["a:1", "b:2"]


async def test_nothing_is_owned_and_publishing_waits_before_kafka_is_there(stream: Stream) -> None:
    assert list(stream.owned()) == []
    with pytest.raises(Retriable, match="not started"):
        await stream.publish("deliveries", 1, [OUTPUT])


def owned(*, end: int | None = 9, answered_ago_ms: int = 0) -> driver.Owned:
    """Partition 0, whose broker spoke so long before now (never, where it named no end yet)."""
    return driver.Owned(0, end, 4, 0 if end is None else now_ms() - answered_ago_ms)


# Made when the test runs: a clock read while tests are collected is minutes behind by then.
@pytest.mark.parametrize(
    ("look", "is_ready", "detail"),
    [
        (list, False, "no partitions assigned yet"),
        (lambda: [owned()], True, ""),
        (lambda: [owned(end=None)], True, ""),
        (lambda: [owned(answered_ago_ms=60_000)], False, "no fetch was answered"),
    ],
)
async def test_readiness_follows_what_the_broker_says(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, look: Look, is_ready: bool, detail: str
) -> None:
    monkeypatch.setattr(stream.app, "look", look)
    stream._observe()
    found = stream._health.report()["kafka"]
    assert found["ok"] is is_ready
    assert str(found["detail"]).startswith(detail)


async def test_lag_is_the_logs_end_less_what_is_durable(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    lag = metrics.lag.labels("triggers", "0")._value
    monkeypatch.setattr(stream.app, "look", lambda: [owned()])
    stream._observe()
    assert lag.get() == 5
    stream._next[0] = 9
    stream._observe()
    assert lag.get() == 0
    monkeypatch.setattr(stream.app, "look", list)
    stream._observe()
    assert stream._next == {}


class _Batch:
    """Takes `room` records."""

    def __init__(self, room: int) -> None:
        self.room, self.taken = room, list[tuple[bytes, bytes]]()

    def append(self, *, key: bytes, value: bytes, timestamp: None, headers: list[tuple[str, bytes]]) -> object | None:
        if len(self.taken) == self.room:
            return None
        self.taken.append((key, value))
        return object()


class _Client:
    """aiokafka's producer as far as publish uses it."""

    def __init__(self, room: int, error: Exception | None = None) -> None:
        self.batch, self.error = _Batch(room), error

    def create_batch(self) -> _Batch:
        return self.batch

    async def send_batch(self, batch: _Batch, topic: str, *, partition: int) -> Any:
        async def acknowledged() -> None:
            if self.error:
                raise self.error

        return acknowledged()


def producer_with(stream: Stream, client: _Client) -> driver.App:
    producer = stream.app.producer
    assert isinstance(producer, driver._Producer)
    producer._producer = client
    return stream.app


async def test_what_fits_into_one_batch_is_sent_and_the_rest_left(stream: Stream) -> None:
    client = _Client(room=2)
    assert await producer_with(stream, client).publish("deliveries", 1, [OUTPUT] * 5) == 2
    assert client.batch.taken == [(b"key", b"value")] * 2


async def test_a_record_that_fits_nowhere_stops_the_process_instead_of_turning_for_ever(stream: Stream) -> None:
    with pytest.raises(Fatal, match="does not fit"):
        await producer_with(stream, _Client(room=0)).publish("deliveries", 1, [OUTPUT])


@pytest.mark.parametrize(
    ("error", "kind"),
    [(aiokafka.errors.KafkaTimeoutError(), Retriable), (aiokafka.errors.ProducerClosed(), Fatal)],
)
async def test_errors_of_the_broker_are_retried_and_a_closed_producer_is_fatal(
    stream: Stream, error: Exception, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        await producer_with(stream, _Client(2, error)).publish("deliveries", 1, [OUTPUT])


async def test_records_are_sent_with_all_acknowledgements(stream: Stream) -> None:
    producer = stream.app.producer
    assert isinstance(producer, driver._Producer)
    assert producer._settings_extra() == {"acks": "all"}


def test_a_message_becomes_a_record_with_its_place_and_headers() -> None:
    class Message:
        topic, partition, offset, key, value, timestamp = "triggers", 3, 7, None, b"v", 1.5
        headers = (("seq", b"3:1"), ("empty", None))

    found = _record(Message())
    assert (found.partition, found.offset, found.key, found.value, found.log_ms) == (3, 7, b"", b"v", 1_500)
    assert found.headers == {"seq": b"3:1", "empty": b""}
