"""Ingest as a process in front of a real broker: its answers, what it writes, what survives a broker's pause."""

import concurrent.futures
import gzip
import json
import signal
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.chassis.ids import node_of, partition_of
from services.chassis.testing.waiting import free_port, wait_for
from services.ingest.endpoints import ENDPOINTS
from tests.integration.ingest_process import IngestProcess, broker_process, ingest_process, pause, read_topic

LOCAL = ("local", "")
# TOUCHSTREAM_IDENTIFIER_KEY's default.
KEY = b"touchstream-local"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One broker for these tests: none of them minds what the others wrote."""
    with broker_process(tmp_path_factory.mktemp("broker")) as (bootstrap, _):
        yield bootstrap


@pytest.fixture(scope="module")
def ingest(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngestProcess]:
    """One ingest for the tests that do not stop it."""
    folder = tmp_path_factory.mktemp("ingest")
    with ingest_process(kafka, folder, MAX_IMPORT_BYTES="3000000", BODY_TIMEOUT_MS="500") as running:
        yield running


@pytest.fixture
def client(ingest: IngestProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ingest.url, auth=LOCAL, timeout=30) as client:
        yield client


def message(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Product Viewed", "userId": "u1", "messageId": str(uuid.uuid4())} | fields


def by_id(bootstrap: str) -> dict[str, dict[str, Any]]:
    return {touchpoint["event_id"]: touchpoint for touchpoint in read_topic(bootstrap, "touchpoints", "touchpoint")}


def test_each_endpoint_stores_what_was_sent(client: httpx.Client, kafka: str) -> None:
    sent = {}
    for endpoint in ENDPOINTS:
        one = message(type=endpoint.type or "track", previousId="a1")
        answer = client.post(endpoint.path, json=one if endpoint.type else {"batch": [one]})
        assert answer.status_code == 200, answer.text
        sent[one["messageId"]] = endpoint
    found = by_id(kafka)
    for event_id, endpoint in sent.items():
        touchpoint = found[event_id]
        assert touchpoint["type"] == (endpoint.type or "track")
        is_import, is_lived = "import" in endpoint.path, "lived" in endpoint.path
        assert touchpoint["flags"] == 1 * is_import + 32 * is_lived
        node = node_of("user_id:u1", KEY).encode()
        assert (touchpoint["key"], touchpoint["partition"]) == (node, partition_of(node, 4))


def test_a_mixed_batch_is_divided_between_two_topics(client: httpx.Client, kafka: str) -> None:
    good, bad = message(), {"type": "track", "messageId": str(uuid.uuid4())}
    packed = gzip.compress(json.dumps({"batch": [good, bad]}).encode())
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/v1/batch", content=packed, headers=form)
    assert answer.status_code == 200
    assert [event["accepted"] for event in answer.json()["events"]] == [True, False]
    assert good["messageId"] in by_id(kafka)
    assert bad["messageId"] not in by_id(kafka)
    kept = [r for r in read_topic(kafka, "touchpoints.rejected", "rejected") if bad["messageId"].encode() in r["raw"]]
    assert [reason.split("|")[0] for reason in kept[0]["reasons"]] == ["event_missing", "identifier_missing"]
    assert (kept[0]["key"], kept[0]["remote"]) == (b"local", "127.0.0.0")


def test_every_status_is_what_the_document_says(client: httpx.Client) -> None:
    batch = {"batch": [message()]}
    answers = [
        client.post("/v1/batch", json=batch),
        client.post("/v1/batch", content=b"{"),
        client.post("/v1/batch", json=batch, auth=("x", "")),
        client.get("/v1/unknown"),
        client.get("/v1/batch"),
        client.post("/v1/track", json=message(properties={"x": "y" * 40_000})),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 401, 404, 405, 413]
    assert all({"code", "message", "errors"} <= answer.json().keys() for answer in answers[1:])
    assert client.get("/openapi.json").json()["openapi"] == "3.1.0"
    assert "<h1>" in client.get("/docs").text


def test_a_body_that_never_ends_is_given_up(ingest: IngestProcess) -> None:
    head = "POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer local\r\nContent-Length: 100\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", int(ingest.url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(4_096), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_incomplete" in answer


def test_a_key_above_its_rate_waits(ingest: IngestProcess) -> None:
    with httpx.Client(base_url=ingest.url, timeout=30) as client:
        page = {"type": "page", "anonymousId": "a1"}
        codes = [
            client.post("/v1/batch", json={"batch": [page] * 3_000}, auth=("local-browser", "")).status_code
            for _ in range(3)
        ]
    assert codes[0] == 200
    assert 429 in codes


def test_parallel_batches_lie_in_the_topic_exactly_once(ingest: IngestProcess, kafka: str) -> None:
    batches = [[message(userId=f"u{n}-{i}") for i in range(50)] for n in range(40)]

    def send(batch: list[dict[str, Any]]) -> int:
        return httpx.post(f"{ingest.url}/v1/batch", json={"batch": batch}, auth=LOCAL, timeout=30).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, batches)) == {200}
    sent = {one["messageId"] for batch in batches for one in batch}
    counts = Counter(t["event_id"] for t in read_topic(kafka, "touchpoints", "touchpoint") if t["event_id"] in sent)
    assert counts == dict.fromkeys(sent, 1)


def test_an_import_of_many_lines_keeps_its_old_times(client: httpx.Client, kafka: str) -> None:
    lines = [message(timestamp="2011-06-01T08:00:00Z", userId=f"u{n}") for n in range(3_000)]
    body = "\n".join(json.dumps(line) for line in lines)
    answer = client.post("/v1/import", content=body.encode(), headers={"Content-Type": "application/x-ndjson"})
    assert (answer.status_code, answer.json()["accepted"]) == (200, 3_000)
    assert by_id(kafka)[lines[-1]["messageId"]]["occurred_at"] == 1_306_915_200_000


def test_counters_and_health_are_served(client: httpx.Client, ingest: IngestProcess) -> None:
    client.post("/v1/track", json={"userId": "u1"})
    client.post("/v1/track", json=message())
    text = httpx.get(f"{ingest.ops_url}/metrics").text
    assert 'touchstream_ingest_events_total{source="local",verdict="accepted"}' in text
    assert 'touchstream_ingest_rejected_total{reason="event_missing",source="local"}' in text
    assert "touchstream_ingest_produce_seconds_bucket" in text
    assert "touchstream_ingest_unacknowledged_events 0.0" in text
    assert "touchstream_ingest_in_flight_bytes 0.0" in text
    assert httpx.get(f"{ingest.ops_url}/healthz").status_code == 200


def test_no_200_while_the_broker_stands_still_and_nothing_is_lost(tmp_path: Path) -> None:
    with (
        broker_process(tmp_path) as (bootstrap, broker),
        ingest_process(bootstrap, tmp_path, ACK_TIMEOUT_MS="1000", MAX_UNACKNOWLEDGED_EVENTS="250") as ingest,
        httpx.Client(base_url=ingest.url, auth=LOCAL, timeout=30) as client,
    ):
        batches = [[message() for _ in range(100)] for _ in range(4)]
        assert client.post("/v1/batch", json={"batch": batches[0]}).status_code == 200
        pause(broker)
        answers = [client.post("/v1/batch", json={"batch": batch}) for batch in batches[1:]]
        assert [answer.status_code for answer in answers] == [503, 503, 503]
        assert [answer.json()["code"] for answer in answers] == [
            "broker_unavailable",
            "broker_unavailable",
            "overloaded",
        ]
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        wait_for(lambda: not ingest.is_ready(), "ingest says that it is not ready", 15)
        broker.send_signal(signal.SIGCONT)
        for batch in batches[1:]:
            wait_for(lambda b=batch: client.post("/v1/batch", json={"batch": b}).status_code == 200, "stored again", 60)
        wait_for(ingest.is_ready, "ingest is ready again")
        found = Counter(t["event_id"] for t in read_topic(bootstrap, "touchpoints", "touchpoint"))
        assert set(found) == {one["messageId"] for batch in batches for one in batch}


def test_a_stop_finishes_what_is_under_way(tmp_path: Path) -> None:
    with (
        broker_process(tmp_path) as (bootstrap, broker),
        ingest_process(bootstrap, tmp_path, ACK_TIMEOUT_MS="20000") as ingest,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        one = message()
        pause(broker)
        waiting = pool.submit(httpx.post, f"{ingest.url}/v1/track", json=one, auth=LOCAL, timeout=30)
        metrics = f"{ingest.ops_url}/metrics"
        wait_for(lambda: "touchstream_ingest_unacknowledged_events 1.0" in httpx.get(metrics).text, "the event waits")
        ingest.process.terminate()
        wait_for(lambda: _is_refused(ingest), "no new request is taken")
        assert not waiting.done()
        broker.send_signal(signal.SIGCONT)
        assert waiting.result(timeout=30).status_code == 200
        assert ingest.process.wait(timeout=30) == 0
        assert one["messageId"] in by_id(bootstrap)


def _is_refused(ingest: IngestProcess) -> bool:
    try:
        return httpx.post(f"{ingest.url}/v1/track", json=message(), auth=LOCAL, timeout=5).status_code == 503
    except httpx.TransportError:
        return True


def test_before_the_broker_is_there_the_answer_is_503(tmp_path: Path) -> None:
    port = free_port()
    with ingest_process(f"127.0.0.1:{port}", tmp_path, waits=False) as ingest:

        def status() -> int:
            try:
                return httpx.post(f"{ingest.url}/v1/track", json=message(), auth=LOCAL).status_code
            except httpx.TransportError:
                return 0

        wait_for(lambda: status() == 503, "ingest answers 503")
        with broker_process(tmp_path, port):
            wait_for(lambda: status() == 200, "ingest accepts once the broker is there", 60)


def test_another_number_of_partitions_is_refused_at_start(kafka: str, tmp_path: Path) -> None:
    with ingest_process(kafka, tmp_path, waits=False, PARTITIONS="7") as ingest:
        assert ingest.process.wait(timeout=30) == 1
        assert "TOUCHSTREAM_PARTITIONS" in ingest.log.read_text()
