"""Requests that took from ingest more than a request may: a body's answer, its memory, its log."""

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from unittest.mock import patch

import pytest
from prometheus_client import REGISTRY

from cli.rejected import CUT
from deploy.local.settings import ROOT
from services.ingest.encode import MAX_RAW_BYTES
from services.ingest.endpoints import ENDPOINTS
from services.ingest.requests import Call
from tests.unit.ingest.ingest_double import build_ingest

BATCH, IMPORT = (next(e for e in ENDPOINTS if e.path == path) for path in ("/v1/batch", "/v1/import"))
GOOD = {"type": "track", "event": "Order Completed", "userId": "u1", "messageId": "m1"}


@pytest.mark.parametrize("size", [MAX_RAW_BYTES + 1, 1_500_000, 3_000_000])
async def test_one_large_event_of_an_import_costs_the_others_nothing(size: int) -> None:
    """Kept uncut it was more than a record may have: 503 for the whole body, and for every repetition of it."""
    ingest = build_ingest()
    large = {**GOOD, "messageId": "m2", "properties": {"x": "y" * size}}
    body = "\n".join(json.dumps(event) for event in (GOOD, large, {**GOOD, "messageId": "m3"}))
    answer = await ingest.post("/v1/import", content=body.encode())
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (200, 2, 1)
    assert [event["errors"][0]["rule"] for event in answer.json()["events"]] == ["event_too_large"]
    (kept,) = ingest.publisher.rejected()
    assert kept["raw"] == json.dumps(large).encode()[:MAX_RAW_BYTES]
    assert CUT in kept["reasons"][-1]
    most = tomllib.loads((ROOT / "schemas/topics.toml").read_text())["defaults"]["max_message_bytes"]
    assert max(len(message.value) for message in ingest.publisher.messages) < most
    await ingest.client.aclose()


async def test_announced_bytes_of_strangers_take_no_room_from_senders() -> None:
    """36 idle requests of 3.5 MB each, none of which had sent a byte or a key, held all of the memory budget."""
    ingest = build_ingest(max_in_flight_bytes=1_048_576)
    silent = asyncio.Event()

    async def nothing() -> AsyncIterator[bytes]:
        await silent.wait()
        yield b""

    idle = [asyncio.create_task(ingest.collector.handle(Call(BATCH, nothing(), length=512_000))) for _ in range(36)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in idle)
    assert (await ingest.post("/v1/track", GOOD)).status_code == 200
    silent.set()
    assert {answer.status for answer in await asyncio.gather(*idle)} == {400}
    await ingest.client.aclose()


async def test_an_import_without_a_key_in_its_head_is_not_read() -> None:
    ingest = build_ingest()

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    answer = await ingest.collector.handle(Call(IMPORT, unread(), length=10_000_000))
    assert answer.status == 401
    await ingest.client.aclose()


async def test_a_fault_of_ours_is_counted() -> None:
    """`handle` raised before it counted: no counter and no alert knew of a 500."""
    ingest = build_ingest()
    before = _answers_500()
    with patch.object(ingest.publisher, "publish", side_effect=RuntimeError("li@example.com")):
        assert (await ingest.post("/v1/track", GOOD)).status_code == 500
        origin = {"Authorization": "Bearer local", "Origin": "https://shop.example"}
        assert (await ingest.post("/v1/track", GOOD, headers=origin)).status_code == 500
    assert _answers_500() == before + 2
    await ingest.client.aclose()


def _answers_500() -> float:
    return (
        REGISTRY.get_sample_value("touchstream_ingest_requests_total", {"endpoint": "/v1/track", "status": "500"})
        or 0.0
    )


FAULTY = """
import asyncio, httpx, socket
from services.chassis.logs import configure_logs
from services.ingest.server import _config, _Server
from tests.unit.ingest.ingest_double import build_ingest

async def main():
    configure_logs("ingest")
    ingest = build_ingest()
    def broken(*args):
        raise RuntimeError("li@example.com")
    ingest.publisher.publish = broken
    bound = socket.create_server(("127.0.0.1", 0))
    server = _Server(_config(ingest.app, ingest.settings))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1/track"
    event = {"event": "Order Completed", "userId": "li@example.com"}
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": "Bearer local"}) as client:
        for headers in ({}, {}, {}, {"Origin": "https://shop.example"}):
            assert (await client.post(url, json=event, headers=headers)).status_code == 500
    server.should_exit = True
    await serving
    await ingest.client.aclose()

asyncio.run(main())
"""


def test_a_fault_of_ours_is_one_json_line_without_a_persons_data() -> None:
    """uvicorn logged the traceback with the error's text, many lines for every single request."""
    done = subprocess.run([sys.executable, "-c", FAULTY], capture_output=True, text=True, check=True, cwd=ROOT)
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["event"], line["path"], line["error"]) == ("request.failed", "/v1/track", "RuntimeError")
    assert re.fullmatch(r"services/ingest/handler\.py:\d+", line["place"])
    assert "example" not in done.stderr
