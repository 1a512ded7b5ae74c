r"""Half characters: `"\ud800"` is JSON and no text. What identifies is refused and kept, what describes is mended."""

import json
from typing import Any

import pytest

from services.chassis.avro import Codec
from services.ingest.encode import REJECTED
from tests.unit.ingest.ingest_double import Ingest

HALVES = ["\ud800", "\udfff", "u\ud83d", "\ude00\ud83d"]
WHOLE = {"type": "track", "event": "Product Viewed", "messageId": "m1"}


async def refused(ingest: Ingest, message: dict[str, Any]) -> list[str]:
    """The rules that the answer names; the event is kept with its bytes."""
    raw = json.dumps(message).encode()
    answer = await ingest.post("/v1/track", content=raw)
    assert answer.status_code == 400, answer.text
    (kept,) = ingest.publisher.messages
    assert kept.topic == REJECTED
    assert Codec("rejected").decode(kept.value)["raw"] == raw
    return [error["rule"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(
    "stated",
    [
        lambda half: {"userId": half},
        lambda half: {"anonymousId": half},
        lambda half: {"traits": {"unionid": half}},
        lambda half: {"traits": {"openid": half, "app_id": "wx"}},
        lambda half: {"context": {"device": {"id": half}}},
        lambda half: {"context": {"externalIds": [{"type": "user_id", "id": half}]}},
    ],
)
async def test_half_an_identifier_identifies_nobody(ingest: Ingest, stated: Any, half: str) -> None:
    rules = await refused(ingest, WHOLE | stated(half))
    assert rules[0] == "identifier_missing"
    assert "identifier_invalid" in rules


@pytest.mark.parametrize("half", HALVES)
async def test_half_a_message_id_is_refused_because_two_of_them_would_look_alike(ingest: Ingest, half: str) -> None:
    assert await refused(ingest, WHOLE | {"userId": "u1", "messageId": half}) == ["message_id_invalid"]


@pytest.mark.parametrize("stated", [{"traits": {"phone": "+8613\ud800"}}, {"traits": {"email": "a\ud800@b.cn"}}])
async def test_half_a_contact_is_no_contact(ingest: Ingest, stated: dict[str, Any]) -> None:
    assert (await refused(ingest, WHOLE | stated))[0] == "identifier_missing"


@pytest.mark.parametrize("half", HALVES)
async def test_half_a_character_in_names_and_values_costs_only_itself(ingest: Ingest, half: str) -> None:
    values = {"traits": {"nick": half}, "properties": {"text": half, half: [half]}, "context": {"page": half}}
    answer = await ingest.post("/v1/track", content=json.dumps({**WHOLE, **values, "userId": "u1", "event": half}))
    assert answer.status_code == 200, answer.text
    (touchpoint,) = ingest.publisher.touchpoints()
    mended = "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in half)
    assert touchpoint["name"] == mended
    assert json.loads(touchpoint["traits"]) == {"nick": mended}
    assert json.loads(touchpoint["properties"]) == {"text": mended, mended: [mended]}


async def test_a_batch_keeps_its_whole_events(ingest: Ingest) -> None:
    batch = [{**WHOLE, "userId": "\ud800"}, {**WHOLE, "userId": "u1"}]
    answer = await ingest.post("/v1/batch", content=json.dumps({"batch": batch, "context": {"x": "\ud800"}}))
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (200, 1, 1)


async def test_half_a_write_key_is_no_key(ingest: Ingest) -> None:
    body = json.dumps({**WHOLE, "userId": "u1", "writeKey": "\ud800"})
    assert (await ingest.post("/v1/track", content=body, headers={})).status_code == 401


async def test_surrogates_written_as_bytes_are_no_utf_8(ingest: Ingest) -> None:
    raw = b'{"event":"A","userId":"\xed\xa0\x80"}'
    answer = await ingest.post("/v1/track", content=raw)
    assert (answer.status_code, answer.json()["code"]) == (400, "json_malformed")
    assert ingest.publisher.rejected()[0]["raw"] == raw
