"""The SDKs that people already have, unmodified: every event they sent is in the topic exactly once."""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rudderstack.analytics.client import Client as RudderClient
from segment.analytics.client import Client as SegmentClient

from services.chassis.testing.waiting import wait_for
from tests.integration.ingest_process import IngestProcess, broker_process, ingest_process, pause, read_topic

EVENTS = 250


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One broker for these tests: none of them minds what the others wrote."""
    with broker_process(tmp_path_factory.mktemp("broker")) as (bootstrap, _):
        yield bootstrap


@pytest.fixture(scope="module")
def ingest(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngestProcess]:
    with ingest_process(kafka, tmp_path_factory.mktemp("sdks")) as running:
        yield running


def stored(bootstrap: str, ids: list[str]) -> dict[str, dict[str, Any]]:
    """The touchpoints with these ids; fails unless each is there exactly once."""
    wanted = set(ids)
    assert len(wanted) == len(ids)
    found = [t for t in read_topic(bootstrap, "touchpoints", "touchpoint") if t["event_id"] in wanted]
    assert Counter(t["event_id"] for t in found) == dict.fromkeys(wanted, 1)
    return {t["event_id"]: t for t in found}


def send_everything(client: Any, prefix: str) -> list[str]:
    """Every kind of call, and enough tracks for several batches; the message ids in order."""
    person = {"email": f"{prefix}@Example.com", "phone": "139 1234 5678", "name": "李雷"}
    calls = [
        client.identify(f"{prefix}-1", person),
        client.page(user_id=f"{prefix}-1", category="Docs", name="Home", properties={"path": "/"}),
        client.screen(user_id=f"{prefix}-1", name="Cart"),
        client.group(f"{prefix}-1", f"{prefix}-company", {"email": "info@corp.example"}),
        client.alias(f"{prefix}-anonymous", f"{prefix}-1"),
        client.track(anonymous_id=f"{prefix}-anonymous", event="Cart Viewed"),
    ]
    for place in range(EVENTS):
        order = {"order_id": f"{prefix}-{place}", "total": 19.9, "currency": "CNY"}
        calls.append(client.track(f"{prefix}-{place % 9}", "Order Completed", order))
    client.flush()
    ids = []
    for call in calls:
        # RudderStack's returns (success, message), Segment's the same.
        success, sent = call
        assert success
        ids.append(sent["messageId"])
    return ids


def check(touchpoints: dict[str, dict[str, Any]], ids: list[str], prefix: str) -> None:
    identify, page, screen, group, alias, cart, *orders = (touchpoints[event_id] for event_id in ids)
    assert identify["identifiers"] == [f"user_id:{prefix}-1", "phone:+8613912345678", f"email:{prefix}@example.com"]
    assert json.loads(identify["traits"])["name"] == "李雷"
    assert (page["name"], json.loads(page["properties"])["category"]) == ("Page Viewed", "Docs")
    assert (screen["name"], json.loads(screen["properties"])["name"]) == ("Screen Viewed", "Cart")
    assert json.loads(group["properties"])["group_id"] == f"{prefix}-company"
    assert group["identifiers"] == [f"user_id:{prefix}-1"]
    assert alias["identifiers"] == [f"user_id:{prefix}-1", f"anonymous_id:{prefix}-anonymous"]
    assert cart["identifiers"] == [f"anonymous_id:{prefix}-anonymous"]
    assert {(order["amount_minor"], order["currency"]) for order in orders} == {(1990, "CNY")}
    assert all(0 <= t["received_at"] - t["occurred_at"] < 60_000 for t in touchpoints.values())


@pytest.mark.parametrize("gzip", [False, True])
def test_segments_python_sdk_loses_and_doubles_nothing(ingest: IngestProcess, kafka: str, gzip: bool) -> None:
    failures: list[Any] = []
    client = SegmentClient(
        "local", host=ingest.url, gzip=gzip, on_error=lambda error, batch: failures.append(error), upload_interval=0.1
    )
    prefix = f"segment-{gzip}".lower()
    ids = send_everything(client, prefix)
    client.shutdown()
    assert failures == []
    check(stored(kafka, ids), ids, prefix)


@pytest.mark.parametrize("gzip", [False, True])
def test_rudderstacks_python_sdk_loses_and_doubles_nothing(ingest: IngestProcess, kafka: str, gzip: bool) -> None:
    failures: list[Any] = []
    client = RudderClient(
        "local", host=ingest.url, gzip=gzip, on_error=lambda error, batch: failures.append(error), upload_interval=0.1
    )
    prefix = f"rudder-{gzip}".lower()
    ids = send_everything(client, prefix)
    client.shutdown()
    assert failures == []
    check(stored(kafka, ids), ids, prefix)


def test_sdks_report_a_wrong_key_with_our_code_and_message(ingest: IngestProcess) -> None:
    for make in (SegmentClient, RudderClient):
        failures: list[Any] = []
        client = make("nobody", host=ingest.url, on_error=lambda e, batch, f=failures: f.append(e), upload_interval=0.1)
        client.track("u1", "Cart Viewed")
        client.flush()
        client.shutdown()
        assert [(error.status, error.code) for error in failures] == [(401, "write_key_unknown")]


def test_sdks_try_again_when_the_broker_was_away(tmp_path: Path) -> None:
    """A 503 with Retry-After makes both keep their events until they are stored."""
    with (
        broker_process(tmp_path) as (bootstrap, broker),
        ingest_process(bootstrap, tmp_path, ACK_TIMEOUT_MS="300") as ingest,
    ):
        pause(broker)
        clients = [make("local", host=ingest.url, upload_interval=0.1) for make in (SegmentClient, RudderClient)]
        ids = [client.track("u1", "Cart Viewed")[1]["messageId"] for client in clients]
        log = f"{ingest.ops_url}/metrics"
        wait_for(lambda: _refused(log) >= 2, "both were refused once")
        broker.send_signal(signal.SIGCONT)
        for client in clients:
            client.flush()
            client.shutdown()
        found = {t["event_id"] for t in read_topic(bootstrap, "touchpoints", "touchpoint")}
        assert set(ids) <= found


def _refused(url: str) -> float:
    wanted = 'requests_total{endpoint="/v1/batch",status="503"}'
    lines = [line for line in httpx.get(url).text.splitlines() if wanted in line]
    return float(lines[0].split()[-1]) if lines else 0.0
