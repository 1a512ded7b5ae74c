"""`touchstream rejected`: what is shown, and what is sent again, once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from cli import browse, rejected
from cli.main import app
from cli.send_again import SendAgain
from services.chassis.avro import Codec
from services.chassis.errors import Fatal
from services.chassis.records import Record

CODEC = Codec("rejected")


def refused(n: int, raw: bytes = b'{"type":"track","messageId":"m"}', **fields: Any) -> Record:
    value = {
        "rejected_id": f"{n:032x}"[::-1], "source": "local", "endpoint": "/v1/batch",
        "received_at": 1_750_000_000_000 + n,
        "reasons": ["identifier_missing|userId|no usable identifier", "phone_invalid|traits.phone|a|b"], "raw": raw,
        "content_type": "application/json", "remote": "10.0.0.0", **fields,
    }  # fmt: skip
    return Record("touchpoints.rejected", 0, n, b"local", CODEC.encode(value), {}, n)


class Ingest:
    """Answers batches and imports: refuses events whose userId is missing. Remembers what came."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[dict[str, Any]]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        try:
            events = (
                [json.loads(line) for line in request.content.splitlines()]
                if request.url.path == "/v1/import"
                else json.loads(request.content)["batch"]
            )
        except ValueError:
            self.calls.append((request.url.path, []))
            return httpx.Response(400, json={"code": "json_malformed", "errors": []})
        self.calls.append((request.url.path, events))
        verdicts = [{"index": i, "accepted": "userId" in event} for i, event in enumerate(events)]
        return httpx.Response(200 if any(v["accepted"] for v in verdicts) else 400, json={"events": verdicts})


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Record]]:
    """What lies in the topic; the command finds it there."""
    records: list[Record] = []

    def records_of(bootstrap: str, topics: list[str], newest: int | None = None) -> Iterator[Record]:
        return iter(records[-newest:] if newest else records)

    monkeypatch.setattr(rejected, "records_of", records_of)
    monkeypatch.setenv("TOUCHSTREAM_LOCAL_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(browse.console, "width", 200)
    return records


@pytest.fixture
def ingest(monkeypatch: pytest.MonkeyPatch) -> Ingest:
    fake = Ingest()
    client = httpx.Client(transport=httpx.MockTransport(fake))
    monkeypatch.setattr(rejected, "SendAgain", lambda url, key: SendAgain(url, key, client))
    monkeypatch.setattr("cli.send_again.time.sleep", lambda seconds: None)
    return fake


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["rejected", *args])


def listed(*args: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("--json", *args).stdout.splitlines()]


def test_everything_is_in_the_json_newest_last(topic: list[Record]) -> None:
    topic += [refused(1), refused(2, b"\xff\x00", source="shop")]
    first, second = listed()
    assert first == {
        "id": f"{1:032x}"[::-1], "received_at": "2025-06-15T15:06:40.001Z", "source": "local", "endpoint": "/v1/batch",
        "reasons": [
            {"code": "identifier_missing", "field": "userId", "message": "no usable identifier"},
            {"code": "phone_invalid", "field": "traits.phone", "message": "a|b"},
        ],
        "raw": '{"type":"track","messageId":"m"}', "content_type": "application/json", "remote": "10.0.0.0",
        "place": "0/1", "resent": None,
    }  # fmt: skip
    assert (second["source"], second["raw_base64"]) == ("shop", "/wA=")


def test_filters_and_limits(topic: list[Record]) -> None:
    topic += [refused(n, source="shop" if n % 2 else "local", reasons=[f"code{n % 3}||x"]) for n in range(1, 31)]
    assert {one["source"] for one in listed("--source", "shop")} == {"shop"}
    assert len(listed("--reason", "code1", "--source", "local")) == 5
    assert [one["place"] for one in listed("--limit", "2")] == ["0/29", "0/30"]
    assert len(listed()) == 30


def test_the_table_is_readable(topic: list[Record]) -> None:
    topic.append(refused(7, '{"name": "李雷\n\x1b[31m"}'.encode()))
    shown = run().stdout
    assert "2025-06-15 15:06:40" in shown
    assert "phone_invalid traits.phone" in shown
    assert "李雷" in shown
    assert "\x1b" not in shown


def test_an_empty_topic_says_so(topic: list[Record]) -> None:
    assert "nothing was refused" in run().stdout


def test_events_are_mended_and_sent_again_once(topic: list[Record], ingest: Ingest) -> None:
    topic += [refused(1), refused(2, b'{"type":"track","messageId":"h"}', endpoint="/v1/import")]
    done = run("resend", "--all", "--edit", "userId=u1")
    assert (done.exit_code, done.stdout.split()) == (0, ["2", "accepted"])
    assert [(path, [event["userId"] for event in events]) for path, events in ingest.calls] == [
        ("/v1/batch", ["u1"]), ("/v1/import", ["u1"]),
    ]  # fmt: skip
    assert "2  were sent again before" in run("resend", "--all").stdout
    assert len(ingest.calls) == 2
    assert [one["resent"]["outcome"] for one in listed()] == ["accepted", "accepted"]
    assert "sent again" in run().stdout
    assert "2  refused again" in run("resend", "--all", "--again").stdout
    assert len(ingest.calls) == 4


def test_one_is_chosen_by_the_beginning_of_its_id(topic: list[Record], ingest: Ingest) -> None:
    topic += [refused(0x123456), refused(0x123457)]
    unique = f"{0x123456:032x}"[::-1][:6]
    assert run("resend", "--id", unique, "--edit", "userId=u").stdout.split() == ["1", "accepted"]
    for wrong in ("6543", "ffffff"):
        done = run("resend", "--id", wrong)
        assert (done.exit_code, "events begin like this" in done.stderr) == (1, True)
    assert run("resend").exit_code == 2


def test_a_refusal_among_others_is_counted(topic: list[Record], ingest: Ingest) -> None:
    topic += [refused(1), refused(2, b'{"type":"track","userId":"u"}'), refused(3, b"{broken")]
    shown = run("resend", "--all").stdout
    assert "1  accepted" in shown
    assert "2  refused again" in shown


def test_events_of_another_source_are_not_sent_in_this_ones_name(topic: list[Record], ingest: Ingest) -> None:
    topic += [refused(1, source="shop")]
    assert "of source shop: give its --write-key" in run("resend", "--all").stdout
    assert ingest.calls == []


def test_a_body_of_which_only_the_beginning_was_kept_is_not_sent(topic: list[Record], ingest: Ingest) -> None:
    topic.append(refused(1, reasons=["body_too_large||x", "body_too_large|raw|only the first 900000 bytes are kept"]))
    assert "only their beginning was kept" in run("resend", "--all").stdout
    assert ingest.calls == []


def test_what_was_answered_is_remembered_when_the_rest_fails(
    topic: list[Record], ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic += [refused(n, b'{"userId":"u"}') for n in range(150)]

    def first_only(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503, json={"code": "overloaded"}) if ingest.calls else ingest(request)

    client = httpx.Client(transport=httpx.MockTransport(first_only))
    monkeypatch.setattr(rejected, "SendAgain", lambda url, key: SendAgain(url, key, client))
    done = run("resend", "--all")
    assert done.exit_code == 1
    assert "no verdict" in done.stderr
    assert sum(one["resent"] is not None for one in listed()) == 100


def test_a_wrong_key_ends_it() -> None:
    client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(401, text="unknown")))
    ready = {"a": rejected.make_ready("a", "/v1/batch", b"{}", [])}
    with pytest.raises(Fatal, match="401"):
        list(SendAgain("http://ingest.test", "nobody", client).send(ready))
