"""Refused events made ready to be sent again."""

import json
from typing import Any

import pytest

from cli.mend import MendError, make_ready, parse_edit


def ready(raw: bytes, *edits: str, endpoint: str = "/v1/batch") -> Any:
    return make_ready("abc123", endpoint, raw, [parse_edit(text) for text in edits])


@pytest.mark.parametrize(
    ("edits", "result"),
    [
        (["userId=u1"], {"userId": "u1", "messageId": "m", "traits": {"phone": "1"}}),
        (["userId=42"], {"userId": 42, "messageId": "m", "traits": {"phone": "1"}}),
        (["traits.phone=null"], {"messageId": "m", "traits": {"phone": None}}),
        (["context.device.id=d=1"], {"messageId": "m", "traits": {"phone": "1"}, "context": {"device": {"id": "d=1"}}}),
        (['traits={"phone": "2"}', "traits.a=x"], {"messageId": "m", "traits": {"phone": "2", "a": "x"}}),
    ],
)
def test_edits_set_values_at_paths(edits: list[str], result: object) -> None:
    body = ready(b'{"messageId": "m", "traits": {"phone": "1"}}', *edits).body
    assert json.loads(body) == result


@pytest.mark.parametrize("text", ["userId", "=x", "a..b=1"])
def test_an_edit_without_path_or_value_is_refused(text: str) -> None:
    with pytest.raises(MendError, match="path=value"):
        parse_edit(text)


@pytest.mark.parametrize(("raw", "edit"), [(b'{"a": [1]}', "a.7=2"), (b'{"a": 1}', "a.b=2"), (b"{broken", "a=1")])
def test_an_edit_that_finds_no_place_is_refused(raw: bytes, edit: str) -> None:
    with pytest.raises(MendError):
        ready(raw, edit)


def test_elements_of_lists_are_numbered() -> None:
    body = ready(b'{"messageId":"m","context":{"externalIds":[{"id":1}]}}', "context.externalIds.0.id=x").body
    assert json.loads(body)["context"]["externalIds"] == [{"id": "x"}]


def test_an_event_keeps_its_digits_and_gets_an_id_and_the_type_of_its_path() -> None:
    found = ready(b'{"userId":"u1","event":"X","properties":{"total":1.10}}', endpoint="/v1/t")
    assert (found.endpoint, found.is_whole) == ("/v1/batch", False)
    assert found.body == (
        b'{"userId":"u1","event":"X","properties":{"total":1.10},"type":"track","messageId":"resend-abc123"}'
    )


def test_imported_events_stay_imports() -> None:
    assert ready(b'{"type":"track"}', endpoint="/v1/import").endpoint == "/v1/import"


@pytest.mark.parametrize("raw", [b"{broken", b'{"batch": [{"type": "track"}]}', b"[1]"])
def test_what_is_no_single_event_goes_as_it_came(raw: bytes) -> None:
    found = ready(raw)
    assert (found.endpoint, found.body, found.is_whole) == ("/v1/batch", raw, True)
    assert ready(b'{"batch":[{"userId":null}]}', "batch.0.userId=u1").body == b'{"batch":[{"userId":"u1"}]}'
