"""The parts around the decisions: write-keys file, publisher, records, settings."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

from deploy.local.settings import ROOT
from services.chassis.avro import Codec
from services.chassis.errors import Fatal
from services.chassis.settings import SettingsError, load_settings
from services.ingest.adapters import KafkaPublisher, NotStored, Outgoing
from services.ingest.core.problems import Problem
from services.ingest.encode import MAX_RAW_BYTES, Encoder, whole_body
from services.ingest.endpoints import ENDPOINTS
from services.ingest.requests import Call
from services.ingest.settings import IngestSettings
from services.ingest.write_keys import load_keyring
from tests.unit.ingest.ingest_double import KEY

DIGEST = "25bf8e1a2393f1108d37029b3df5593236c755742ec93465bbafa9b290bddcf6"
RECORDS = [Outgoing("t", 0, b"k", b"v")] * 3


def test_the_shipped_file_has_the_documented_keys() -> None:
    keyring = load_keyring(ROOT / "deploy/config/write_keys.yaml")
    local, browser = keyring.source_of("local", 0), keyring.source_of("local-browser", 0)
    assert local is not None
    assert browser is not None
    assert (local.name, local.is_public, local.rules.by_name) == ("local", False, {})
    assert browser.is_public
    assert browser.rules.required("Order Completed") == ("properties.order_id", "properties.total|properties.revenue")


def test_a_key_expires_at_the_beginning_of_its_day(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(f"sources: {{a: {{keys: [{{sha256: {DIGEST}, expires: 2026-11-22}}]}}}}")
    keyring = load_keyring(file)
    midnight = 1_795_305_600_000
    assert keyring.source_of("local", midnight - 1) is not None
    assert keyring.source_of("local", midnight) is None


def test_every_mistake_of_the_file_is_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(
        "sources:\n"
        "  Shop!: {keys: []}\n"
        "  erp:\n"
        "    region: XX\n"
        "    currency: RMB\n"
        "    time_zone: Mars/Base\n"
        "    user_id_pattern: '('\n"
        "    rules: [{event: E, required: [body.x]}]\n"
        "    keys: [{sha256: short, types: [extract]}]\n"
        "    colour: red\n"
    )
    with pytest.raises(SettingsError) as caught:
        load_keyring(file)
    text = str(caught.value)
    for place in (
        "Shop!",
        "erp.region",
        "erp.currency",
        "erp.time_zone",
        "erp.user_id_pattern",
        "required.0",
        "sha256",
    ):
        assert place in text
    for place in ("types.0", "erp.colour", "keys.yaml"):
        assert place in text


@pytest.mark.parametrize("text", ["{", "[]", "", "sources: {a: {keys: [{sha256: X}]}, a: 1}"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError):
        load_keyring(file)
    with pytest.raises(SettingsError):
        load_keyring(tmp_path / "missing.yaml")


def test_a_source_may_stand_only_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(f"sources:\n  shop: {{keys: [{{sha256: {DIGEST}}}]}}\n  shop: {{keys: [{{sha256: {DIGEST}}}]}}\n")
    with pytest.raises(SettingsError, match=r"sources\.shop: expected once, stands on line 2 and on line 3"):
        load_keyring(file)


def test_a_key_may_stand_only_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    one = f"{{keys: [{{sha256: {DIGEST}}}]}}"
    file.write_text(f"sources: {{a: {one}, b: {one}}}")
    with pytest.raises(SettingsError, match="twice"):
        load_keyring(file)


class FakeProducer:
    """confluent_kafka.Producer's part that is used: reports come from poll()."""

    def __init__(self) -> None:
        self.reports: list[Callable[[Any, Any], None]] = []
        self.errors: list[Any] = []
        self.room = 100
        self.purged = False

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, on_delivery: Callable[..., None]) -> None:
        if self.room == 0:
            raise BufferError("queue full")
        self.room -= 1
        self.reports.append(on_delivery)

    def poll(self, timeout: float) -> None:
        if self.errors or self.purged:
            error = self.errors.pop() if self.errors else FakeError("purged")
            for report in self.reports:
                report(error, None)
            self.reports.clear()

    def acknowledge(self) -> None:
        reports, self.reports = self.reports, []
        for report in reports:
            report(None, None)

    def purge(self) -> None:
        self.purged = True


class FakeError(Exception):
    def __init__(self, text: str, is_fatal: bool = False) -> None:
        super().__init__(text)
        self._is_fatal = is_fatal

    def fatal(self) -> bool:
        return self._is_fatal


async def test_one_future_ends_when_all_messages_are_acknowledged() -> None:
    producer, settled = FakeProducer(), []
    publisher = KafkaPublisher(producer)
    stored = publisher.publish(RECORDS, lambda: settled.append(1))
    assert (publisher.unacknowledged, stored.done(), settled) == (3, False, [])
    producer.acknowledge()
    await asyncio.wait_for(stored, 1)
    assert (publisher.unacknowledged, settled, publisher.is_stuck) == (0, [1], False)


async def test_one_failed_message_fails_the_request() -> None:
    producer, settled = FakeProducer(), []
    publisher = KafkaPublisher(producer)
    stored = publisher.publish(RECORDS, lambda: settled.append(1))
    producer.errors = [FakeError("no leader")]
    with pytest.raises(NotStored, match="no leader"):
        await asyncio.wait_for(stored, 1)
    assert (publisher.unacknowledged, settled, publisher.fatal) == (0, [1], "")


async def test_a_full_queue_fails_now_but_settles_when_the_rest_is_known() -> None:
    producer, settled = FakeProducer(), []
    producer.room = 2
    publisher = KafkaPublisher(producer)
    stored = publisher.publish(RECORDS, lambda: settled.append(1))
    with pytest.raises(NotStored, match="took 2 of 3"):
        await stored
    assert (publisher.unacknowledged, settled) == (3, [])
    producer.acknowledge()
    assert (publisher.unacknowledged, settled) == (0, [1])


async def test_a_fatal_error_stops_the_publisher() -> None:
    producer = FakeProducer()
    publisher = KafkaPublisher(producer)
    stored = publisher.publish(RECORDS, lambda: None)
    producer.errors = [FakeError("fenced", is_fatal=True)]
    with pytest.raises(NotStored):
        await asyncio.wait_for(stored, 1)
    assert "fenced" in publisher.fatal
    with pytest.raises(Fatal):
        publisher.publish(RECORDS, lambda: None)


async def test_closing_waits_and_then_gives_up_what_is_left() -> None:
    producer, settled = FakeProducer(), []
    publisher = KafkaPublisher(producer)
    abandoned = publisher.publish(RECORDS, lambda: settled.append(1))
    assert await publisher.close(0.05) == 3
    assert (producer.purged, settled, publisher.unacknowledged) == (True, [1], 0)
    with pytest.raises(NotStored):
        await abandoned
    assert await publisher.close(0.05) == 0


def test_the_publisher_knows_the_drivers_exceptions() -> None:
    from services.chassis.kafka import client

    assert client.KafkaException is KafkaException


def test_a_refused_event_is_written_with_its_evidence() -> None:
    encoder = Encoder(Codec("touchpoint"), Codec("rejected"), KEY, 4)
    call = Call(ENDPOINTS[1], None, content_type="text/plain; charset=utf-8", remote="2001:db8::7")  # type: ignore[arg-type]
    record = encoder.rejected(call, "shop", 5, [Problem("event_missing", "event", "a|b")], b"\xff{")
    fields = Codec("rejected").decode(record.value)
    assert (record.topic, record.key) == ("touchpoints.rejected", b"shop")
    assert fields["reasons"] == ["event_missing|event|a|b"]
    assert (fields["raw"], fields["remote"], fields["endpoint"]) == (b"\xff{", "2001:db8::", "/v1/track")
    assert len(fields["rejected_id"]) == 32


def test_a_body_beyond_a_record_is_cut_and_says_so() -> None:
    problems, raw = whole_body([Problem("body_too_large", "", "x")], b"x" * (MAX_RAW_BYTES + 1))
    assert len(raw) == MAX_RAW_BYTES
    assert "only the first" in problems[-1].message
    assert whole_body(problems[:1], b"x") == (problems[:1], b"x")


def test_settings_come_from_the_environment() -> None:
    settings = load_settings(IngestSettings, {"TOUCHSTREAM_INGEST_PORT": "0", "TOUCHSTREAM_PARTITIONS": "4"})
    assert (settings.port, settings.partitions, settings.metrics_port) == (0, 4, 9101)
    some = load_settings(IngestSettings, {"TOUCHSTREAM_INGEST_CORS_ORIGINS": "https://a.cn, https://b.cn"})
    assert some.origins() == ["https://a.cn", "https://b.cn"]
    with pytest.raises(SettingsError, match="TOUCHSTREAM_INGEST_PROT"):
        load_settings(IngestSettings, {"TOUCHSTREAM_INGEST_PROT": "1"})
