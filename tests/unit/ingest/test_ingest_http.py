"""The HTTP interface: every status, every way to send a key, verdicts, and what is written before the answer."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.chassis.ids import node_of, partition_of
from services.ingest.endpoints import ANSWERS, ENDPOINTS
from tests.unit.ingest.ingest_double import Ingest

KEY = b"0123456789abcdef"
TRACK = {"event": "Product Viewed", "userId": "u1", "messageId": "m1"}
PATHS = [path for endpoint in ENDPOINTS for path in (endpoint.path, *endpoint.aliases)]


def message(kind: str = "track", **fields: Any) -> dict[str, Any]:
    return {"type": kind, **TRACK, "previousId": "a1", **fields}


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_an_accepted_event_is_written_before_the_200(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/track", TRACK)
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "messageId": "m1"}
    (record,) = ingest.publisher.messages
    node = node_of("user_id:u1", KEY).encode()
    assert (record.topic, record.key, record.partition) == ("touchpoints", node, partition_of(node, 4))
    (touchpoint,) = ingest.publisher.touchpoints()
    assert (touchpoint["source"], touchpoint["received_at"]) == ("local", ingest.clock())


async def test_no_200_before_the_broker_acknowledged(ingest: Ingest) -> None:
    ingest.publisher.mode = "hold"
    waiting = asyncio.create_task(ingest.post("/v1/track", TRACK))
    await ingest.publisher.was_held.wait()
    assert not waiting.done()
    ingest.publisher.release()
    assert (await waiting).status_code == 200


@pytest.mark.parametrize("path", PATHS)
async def test_every_documented_path_accepts_an_event(ingest: Ingest, path: str) -> None:
    body = {"batch": [message()]} if "batch" in path or path.endswith("/b") or "import" in path else message()
    assert (await ingest.post(path, body)).status_code == 200
    assert len(ingest.publisher.touchpoints()) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_every_documented_status_exists_on_every_path(make_ingest: Callable[..., Ingest], path: str) -> None:
    is_batch = "batch" in path or path.endswith("/b") or "import" in path
    ingest = make_ingest(max_batch_bytes=20_000, max_import_bytes=20_000, max_event_bytes=10_000, body_timeout_ms=100)
    good: Any = {"batch": [message()]} if is_batch else message()
    seen = {(await ingest.post(path, good)).status_code}
    seen.add((await ingest.post(path, content=b"{")).status_code)
    seen.add((await ingest.post(path, good, headers={})).status_code)
    seen.add((await ingest.post(path, content=b"x" * 30_000)).status_code)
    slow = {"Authorization": "Bearer slow"}
    for _ in range(11):
        answer = await ingest.post(path, good, headers=slow)
    seen.add(answer.status_code)
    ingest.collector.refusal = "stopping"
    seen.add((await ingest.post(path, good)).status_code)
    ingest.collector.refusal = None
    seen.add(await _status_of_a_body_that_never_ends(ingest, path))
    assert seen == set(ANSWERS)


async def _status_of_a_body_that_never_ends(ingest: Ingest, path: str) -> int:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "root_path": "", "scheme": "http",
        "query_string": b"", "headers": [(b"authorization", b"Bearer local")], "client": None, "server": ("x", 1),
    }  # fmt: skip
    await ingest.app(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "options",
    [
        {"auth": ("local", "")},
        {"auth": ("local", "password")},
        {"headers": {"Authorization": "Bearer local"}},
        {"json": {**TRACK, "writeKey": "local"}},
        {"params": {"writeKey": "local"}},
    ],
)  # fmt: skip
async def test_the_write_key_may_be_sent_in_every_usual_way(ingest: Ingest, options: dict[str, Any]) -> None:
    assert (await ingest.client.post("/v1/track", **{"json": TRACK, **options})).status_code == 200


async def test_a_batch_may_carry_the_key_in_its_first_message(ingest: Ingest) -> None:
    body = {"batch": [message(writeKey="browser")]}
    assert (await ingest.post("/v1/batch", body, headers={})).status_code == 200
    assert ingest.publisher.touchpoints()[0]["flags"] == 2


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "write_key_missing"),
        ({"Authorization": "Bearer x"}, "write_key_unknown"),
        ({"Authorization": "Basic ?"}, "write_key_unknown"),
    ],
)
async def test_without_a_good_key_nothing_is_written(ingest: Ingest, headers: dict[str, str], code: str) -> None:
    answer = await ingest.post("/v1/track", TRACK, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert ingest.publisher.messages == []


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
async def test_gzip_is_understood_whatever_the_content_type(ingest: Ingest, content_type: str) -> None:
    headers = {"Authorization": "Bearer local", "Content-Type": content_type}
    answer = await ingest.post(
        "/v1/batch", content=gzip.compress(json.dumps({"batch": [message()]}).encode()), headers=headers
    )
    assert answer.status_code == 200


async def test_accepted_and_refused_events_stand_side_by_side_in_a_batch(ingest: Ingest) -> None:
    body = {"batch": [message(messageId="m1"), {"type": "track", "messageId": "m2"}, 7, message(messageId="m4")]}
    answer = await ingest.post("/v1/batch", body)
    assert answer.status_code == 200
    verdict = answer.json()
    assert (verdict["success"], verdict["accepted"], verdict["rejected"]) == (True, 2, 2)
    assert [(e["index"], e["messageId"], e["accepted"]) for e in verdict["events"]] == [
        (0, "m1", True), (1, "m2", False), (2, "", False), (3, "m4", True),
    ]  # fmt: skip
    assert [error["rule"] for error in verdict["events"][1]["errors"]] == ["event_missing", "identifier_missing"]
    assert [t["event_id"] for t in ingest.publisher.touchpoints()] == ["m1", "m4"]
    assert [r["raw"] for r in ingest.publisher.rejected()] == [b'{"type":"track","messageId":"m2"}', b"7"]


async def test_a_batch_of_which_nothing_is_acceptable_is_a_400_that_is_kept(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/batch", {"batch": [{"type": "track"}]})
    assert (answer.status_code, answer.json()["code"]) == (400, "batch_refused")
    assert {"field", "rule", "message"} == set(answer.json()["errors"][0])
    (rejected,) = ingest.publisher.rejected()
    assert rejected["reasons"][0].startswith("event_missing|event|")
    assert (rejected["source"], rejected["endpoint"], rejected["remote"]) == ("local", "/v1/batch", "203.0.113.0")


async def test_a_refused_single_event_names_every_field_and_rule(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/track", {"userId": "null"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "event_missing"
    assert [(e["field"], e["rule"]) for e in answer.json()["errors"]] == [
        ("event", "event_missing"), ("userId", "identifier_missing"), ("userId", "identifier_placeholder"),
    ]  # fmt: skip
    assert len(ingest.publisher.rejected()) == 1


async def test_remarks_tell_what_was_set_aside(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/identify", {"userId": "u1", "traits": {"phone": "12"}})
    assert answer.json()["remarks"][0]["rule"] == "phone_invalid"


async def test_a_malformed_body_is_kept_whole(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/batch", content=b'{"batch": [')
    assert (answer.status_code, answer.json()["code"]) == (400, "json_malformed")
    assert [r["raw"] for r in ingest.publisher.rejected()] == [b'{"batch": [']


async def test_an_oversized_body_is_kept_as_far_as_it_was_read(make_ingest: Callable[..., Ingest]) -> None:
    ingest = make_ingest(max_batch_bytes=2_000)
    answer = await ingest.post("/v1/batch", content=chunks(b"x" * 1_500, b"y" * 1_500, b"z" * 1_500))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert ingest.publisher.rejected()[0]["raw"] == b"x" * 1_500 + b"y" * 1_500


async def test_a_bomb_is_refused_by_its_unpacked_size(ingest: Ingest) -> None:
    answer = await ingest.post("/v1/batch", content=gzip.compress(b" " * 5_000_000))
    assert answer.status_code == 413


async def test_a_large_event_is_a_413_alone_and_a_verdict_in_a_batch(
    make_ingest: Callable[..., Ingest],
) -> None:
    ingest = make_ingest(max_event_bytes=2_000)
    large = message(properties={"x": "y" * 3_000})
    assert (await ingest.post("/v1/track", large)).status_code == 413
    answer = await ingest.post("/v1/batch", {"batch": [large, message()]})
    assert answer.status_code == 200
    assert answer.json()["events"][0]["errors"][0]["rule"] == "event_too_large"


async def test_too_many_events_in_a_body_are_a_413(make_ingest: Callable[..., Ingest]) -> None:
    ingest = make_ingest(max_request_events=3)
    for path, body in (
        ("/v1/batch", b'{"batch":[1,2,3,4]}'),
        ("/v1/import", b"[1,2,3,4]"),
        ("/v1/import", b"{}\n" * 4),
    ):
        answer = await ingest.post(path, content=body)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_many_events")
    assert len(ingest.publisher.rejected()) == 3


async def test_many_tiny_events_need_more_room_than_their_bytes(make_ingest: Callable[..., Ingest]) -> None:
    ingest = make_ingest(max_in_flight_bytes=1_048_576)
    ingest.publisher.mode = "hold"
    tiny = b'{"batch":[' + b",".join([b"1"] * 900) + b"]}"
    waiting = asyncio.create_task(ingest.post("/v1/batch", content=tiny))
    await ingest.publisher.was_held.wait()
    assert (await ingest.post("/v1/batch", content=tiny)).json()["code"] == "overloaded"
    ingest.publisher.release()
    assert (await waiting).status_code == 400


async def test_what_cannot_be_stored_is_a_503_also_when_it_was_refused(ingest: Ingest) -> None:
    ingest.publisher.mode = "fail"
    for body in (TRACK, {"userId": "u1"}):
        answer = await ingest.post("/v1/track", body)
        assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    assert (await ingest.post("/v1/batch", content=b"{")).status_code == 503
    ingest.publisher.mode = "die"
    assert (await ingest.post("/v1/track", TRACK)).status_code == 503


async def test_a_silent_broker_is_a_503_and_the_bytes_still_count(
    make_ingest: Callable[..., Ingest],
) -> None:
    ingest = make_ingest(ack_timeout_ms=100, max_in_flight_bytes=1_048_576)
    ingest.publisher.mode = "hold"
    large = {"batch": [message(properties={"x": "y" * 30_000}) for _ in range(15)]}
    codes = [(await ingest.post("/v1/batch", large)).json()["code"] for _ in range(4)]
    assert codes == ["broker_unavailable", "broker_unavailable", "overloaded", "overloaded"]
    ingest.publisher.release()
    ingest.publisher.mode = "ack"
    assert (await ingest.post("/v1/batch", large)).status_code == 200


async def test_nothing_stays_reserved_after_any_answer(ingest: Ingest) -> None:
    for body in (b"{", b"", gzip.compress(b"x")[:9], json.dumps(TRACK).encode(), b"x" * 600_000):
        for path in ("/v1/track", "/v1/batch"):
            await ingest.post(path, content=body)
            await ingest.post(path, content=body, headers={})
    assert ingest.collector._budget.used_bytes == 0


async def test_too_many_unacknowledged_events_are_overload(make_ingest: Callable[..., Ingest]) -> None:
    ingest = make_ingest(max_unacknowledged_events=1, ack_timeout_ms=100)
    answer = await ingest.post("/v1/batch", {"batch": [message(), message()]})
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")


async def test_a_key_above_its_rate_is_told_when_to_come_back(ingest: Ingest) -> None:
    headers = {"Authorization": "Bearer slow"}
    assert (await ingest.post("/v1/batch", {"batch": [message()] * 10}, headers=headers)).status_code == 200
    answer = await ingest.post("/v1/batch", {"batch": [message()] * 3}, headers=headers)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "4")
    ingest.clock.advance(4_000)
    assert (await ingest.post("/v1/batch", {"batch": [message()] * 3}, headers=headers)).status_code == 200


async def test_a_body_that_breaks_off_is_a_408(ingest: Ingest) -> None:
    from services.ingest.requests import BrokenOffError, Call

    async def broken() -> AsyncIterator[bytes]:
        yield b"{"
        raise BrokenOffError

    answer = await ingest.collector.handle(Call(ENDPOINTS[0], broken(), "Bearer local"))
    assert (answer.status, ingest.publisher.messages) == (408, [])


async def test_an_import_takes_lines_and_lists_only_what_it_refused(ingest: Ingest) -> None:
    lines = (
        "\n".join(json.dumps(message(messageId=f"m{n}", timestamp="2011-06-01")) for n in range(450)) + "\n{broken\n"
    )
    answer = await ingest.post("/v1/import", content=lines.encode())
    assert answer.status_code == 200
    verdict = answer.json()
    assert (verdict["accepted"], verdict["rejected"]) == (450, 1)
    assert [event["index"] for event in verdict["events"]] == [450]
    assert {t["flags"] for t in ingest.publisher.touchpoints()} == {1}


async def test_history_with_its_own_clock_has_a_path_of_its_own(ingest: Ingest) -> None:
    line = json.dumps(message(messageId="m1", timestamp="2011-06-01"))
    assert (await ingest.post("/v1/import/lived", content=line.encode())).status_code == 200
    assert {t["flags"] for t in ingest.publisher.touchpoints()} == {1 + 32}


async def test_events_without_id_get_different_ones_that_sort_by_time(ingest: Ingest) -> None:
    await ingest.post("/v1/batch", {"batch": [message(messageId=None)] * 3})
    first = {t["event_id"] for t in ingest.publisher.touchpoints()}
    assert len(first) == 3
    assert all(len(i) == 36 and i[14] == "7" and i[19] in "89ab" for i in first)
    ingest.clock.advance(1)
    await ingest.post("/v1/track", {**TRACK, "messageId": None})
    assert ingest.publisher.touchpoints()[-1]["event_id"] > max(first)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_a_405_in_json(ingest: Ingest, method: str) -> None:
    answer = await ingest.client.request(method, "/v1/track")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/json"
    if method != "HEAD":
        assert answer.json()["code"] == "method_not_allowed"


async def test_an_unknown_path_is_a_404_in_json(ingest: Ingest) -> None:
    answer = await ingest.client.get("/v2/track")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_browser_may_ask_and_send_from_anywhere(ingest: Ingest) -> None:
    asked = {
        "Origin": "https://shop.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,anonymousid",
    }  # fmt: skip
    preflight = await ingest.client.options("/v1/track", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "anonymousid" in preflight.headers["access-control-allow-headers"]
    beacon = {"Origin": "https://shop.example", "Content-Type": "text/plain"}
    answer = await ingest.client.post("/v1/t", content=json.dumps({**TRACK, "writeKey": "browser"}), headers=beacon)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


async def test_a_fault_of_ours_is_a_500_in_json(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("li@example.com")

    monkeypatch.setattr(ingest.publisher, "publish", broken)
    answer = await ingest.post("/v1/track", TRACK)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "example" not in answer.text
    assert ingest.collector._budget.used_bytes == 0


async def test_the_openapi_document_names_every_route_and_status(ingest: Ingest) -> None:
    document = (await ingest.client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {*PATHS, "/", "/docs", "/openapi.json"}
    for path in PATHS:
        assert set(document["paths"][path]["post"]["responses"]) == {str(status) for status in ANSWERS}
    text = json.dumps(document)
    for name in _references(text):
        assert name in document["components"]["schemas"]


def _references(text: str) -> set[str]:
    return {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}


async def test_the_docs_page_is_complete_and_needs_no_other_host(ingest: Ingest) -> None:
    for path in ("/", "/docs"):
        page = (await ingest.client.get(path)).text
        assert all(endpoint.path in page for endpoint in ENDPOINTS)
        assert "src=" not in page
        assert "//cdn" not in page
        assert "segment.analytics" in page


async def test_bodies_and_keys_of_strangers_are_not_written(ingest: Ingest) -> None:
    await ingest.post("/v1/batch", content=b"{", headers={})
    await ingest.post("/v1/batch", content=b"x" * 600_000, headers={"Authorization": "Bearer no"})
    assert ingest.publisher.messages == []
