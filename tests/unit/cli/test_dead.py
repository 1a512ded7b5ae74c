"""`touchstream dead`: what may be sent again, and how, follows from who already worked on it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli import dead
from cli.dead_plan import Anew, Back, Letter, Refused, plan
from cli.main import app
from services.chassis.avro import Codec
from services.chassis.ids import partition_of
from services.chassis.kafka.dead_letter import dead_letter
from services.chassis.records import Output, Record
from services.chassis.registry import open_registry
from services.chassis.testing.examples import all_examples
from services.chassis.topics import load_topics

TOPICS = load_topics()
TOUCHPOINT = Codec("touchpoint")
EVENT_HEADERS = {"kind": "event", "n": "7", "node": "user_id:00ff", "src": "3.1.42", "seq": "1:9"}
PARTITIONS = 4


def letter(service: str, topic: str, value: bytes = b"bytes", **headers: str) -> Letter:
    return Letter("id", service, topic, 1, 42, b"key", value, headers, "broken", "0.1.0", 1)


def decided(one: Letter, touchpoint: Mapping[str, Any] | None = None) -> Back | Anew | Refused:
    return plan(one, TOPICS[one.topic].read_by, touchpoint)


@pytest.mark.parametrize(
    "place", [("identity", "touchpoints"), ("archive", "identity.changes"), ("archive", "deliveries")]
)
def test_into_a_topic_that_only_the_service_reads_it_goes_back_as_it_was(place: tuple[str, str]) -> None:
    assert decided(letter(*place, seq="1:9")) == Back()


def test_a_trigger_goes_back_under_its_number_so_that_archive_drops_it() -> None:
    assert decided(letter("notify", "triggers", seq="1:9", src="p")) == Back((("seq", b"1:9"), ("src", b"p")))


@pytest.mark.parametrize(
    ("service", "topic", "others"),
    [
        ("archive", "touchpoints.resolved", "profile would work on it a second time"),
        ("archive", "profile.changes", "rules would"),
        ("archive", "triggers", "notify would"),
        ("archive", "profiles", "anyone would"),
        ("rules", "profile.changes", "archive already worked on it"),
        ("notify", "triggers", "archive already worked on it"),
    ],
)
def test_what_others_would_work_on_twice_is_refused(service: str, topic: str, others: str) -> None:
    found = decided(letter(service, topic))
    assert isinstance(found, Refused)
    assert others in found.why


def test_an_event_that_profile_gave_up_becomes_a_new_touchpoint() -> None:
    former = next(all_examples("touchpoint")).fields
    found = decided(letter("profile", "touchpoints.resolved", **EVENT_HEADERS), former)
    assert isinstance(found, Anew)
    assert found.key == b"user_id:00ff"
    assert found.touchpoint["event_id"] == f"{former['event_id']}~3.1.42"
    marked = json.loads(found.touchpoint["context"])
    assert marked.pop("resent") == {"event_id": former["event_id"], "place": "3.1.42"}
    assert marked == json.loads(former["context"])
    changed = {name for name in former if former[name] != found.touchpoint[name]}
    assert changed == {"event_id", "context"}


@pytest.mark.parametrize(
    ("headers", "readable", "why"),
    [
        (EVENT_HEADERS, False, "cannot be read as a touchpoint"),
        (EVENT_HEADERS | {"kind": "give"}, True, "`give` of a customer's log"),
        ({}, True, "not written by identity"),
        ({"kind": "event", "n": "1"}, True, "identity did not write it"),
    ],
)
def test_what_cannot_take_its_place_again_is_refused(headers: dict[str, str], readable: bool, why: str) -> None:
    former = next(all_examples("touchpoint")).fields if readable else None
    found = decided(letter("profile", "touchpoints.resolved", **headers), former)
    assert isinstance(found, Refused)
    assert why in found.why


def dead_record(service: str, topic: str, offset: int, value: bytes, headers: dict[str, str]) -> Record:
    raw = {name: text.encode() for name, text in headers.items()}
    record = Record(topic, 1, offset, b"user_id:aa", value, raw, 1)
    output = dead_letter(record, service, f"error {offset}", PARTITIONS, open_registry(), 1)
    return Record(output.topic, output.partition, offset, output.key, output.value, {}, offset)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[list[Record], list[Output]]:
    """What lies in the dead-letter topics, and what the command has written."""
    records: list[Record] = []
    written: list[Output] = []

    def records_of(bootstrap: str, topics: list[str], newest: int | None = None) -> Iterator[Record]:
        return (record for record in records if record.topic in topics)

    monkeypatch.setattr(dead, "records_of", records_of)
    monkeypatch.setattr(dead, "publish", lambda bootstrap, outputs: written.extend(outputs))
    monkeypatch.setattr(dead, "partitions_of", lambda bootstrap, topic: PARTITIONS)
    monkeypatch.setenv("TOUCHSTREAM_LOCAL_STATE_DIR", str(tmp_path))
    return records, written


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["dead", *args])


def test_everything_is_in_the_json(topic: tuple[list[Record], list[Output]]) -> None:
    topic[0].append(dead_record("identity", "touchpoints", 5, b"\xff", {"a": "b"}))
    (shown,) = [json.loads(line) for line in run("--json").stdout.splitlines()]
    assert (shown["service"], shown["topic"], shown["partition"], shown["offset"]) == ("identity", "touchpoints", 1, 5)
    assert (shown["error"], shown["headers"], shown["key"], shown["value_base64"]) == (
        "error 5", {"a": "b"}, "user_id:aa", "/w==",
    )  # fmt: skip
    assert "touchpoints/1/5" in run("--service", "identity").stdout
    assert "no dead letters" in run("--service", "rules").stdout
    assert run("--service", "nobody").exit_code == 2


def test_letters_go_back_once_and_refusals_say_why(topic: tuple[list[Record], list[Output]]) -> None:
    records, written = topic
    example = next(all_examples("touchpoint"))
    records += [
        dead_record("identity", "touchpoints", 1, b"bytes", {}),
        dead_record("profile", "touchpoints.resolved", 2, example.value, EVENT_HEADERS),
        dead_record("rules", "profile.changes", 3, b"bytes", {"seq": "1:9"}),
    ]
    done = run("resend", "--all")
    assert done.exit_code == 1
    assert "identity: back into touchpoints" in done.stdout
    assert "profile: as a new event" in done.stdout
    assert "archive already worked on it" in done.stdout
    back, anew = written
    assert (back.topic, back.partition, back.key, back.value) == ("touchpoints", 1, b"user_id:aa", b"bytes")
    assert (anew.topic, anew.key) == ("touchpoints", b"user_id:00ff")
    assert anew.partition == partition_of(anew.key, PARTITIONS)
    assert TOUCHPOINT.decode(anew.value)["event_id"] == f"{example.fields['event_id']}~3.1.42"

    assert "2  were sent again before" in run("resend", "--all").stdout
    assert len(written) == 2
    run("resend", "--all", "--again")
    assert len(written) == 4


def test_one_is_chosen_by_the_beginning_of_its_id(topic: tuple[list[Record], list[Output]]) -> None:
    records, written = topic
    records += [dead_record("identity", "touchpoints", n, b"bytes", {}) for n in range(3)]
    first = json.loads(run("--json").stdout.splitlines()[0])["id"]
    assert run("resend", "--id", first[:8]).exit_code == 0
    assert len(written) == 1
    assert run("resend", "--id", "zzzzzz").exit_code == 1
    assert run("resend").exit_code == 2
