"""Requests that took from ingest more than a request may: a body's answer, its memory, its log."""

import json
import tomllib

import pytest

from cli.rejected import CUT
from deploy.local.settings import ROOT
from services.ingest.encode import MAX_RAW_BYTES
from tests.unit.ingest.ingest_double import build_ingest

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
