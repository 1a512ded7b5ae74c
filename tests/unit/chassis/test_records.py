"""Records from the broker, their way into a dead letter, and entries of the outbox."""

import json
import tomllib

from deploy.local.settings import ROOT
from services.chassis.avro import Codec
from services.chassis.ids import partition_of
from services.chassis.kafka.client import to_record
from services.chassis.kafka.dead_letter import dead_letter
from services.chassis.records import Entry, Output, Record, pack_entry, unpack_entry
from services.chassis.registry import CommittedRegistry, open_registry
from services.chassis.schemas import Schema


class Message:
    """What confluent_kafka hands out for a record of somebody else's making: nothing in it can be relied on."""

    def topic(self) -> str:
        return "touchpoints"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 7

    def key(self) -> None:
        return None

    def value(self) -> None:
        return None

    def headers(self) -> list[tuple[str, bytes | None]]:
        return [("seq", None), ("trace", b"\xff"), ("trace", b"last")]

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_750_000_000_000


def test_a_record_has_bytes_where_the_message_has_nothing() -> None:
    record = to_record(Message())  # type: ignore[arg-type]
    assert record == Record("touchpoints", 3, 7, b"", None, {"seq": b"", "trace": b"last"}, 1_750_000_000_000)


def test_a_dead_letter_holds_the_evidence_of_any_record() -> None:
    record = Record("touchpoints", 3, 7, b"\xffkey", None, {"seq": b"", "bad": b"\xff\xfe"}, 1)
    output = dead_letter(record, "identity", "empty value", 4, open_registry(), 5)
    assert (output.topic, output.partition, output.key) == ("identity.dead", partition_of(b"\xffkey", 4), b"\xffkey")
    found = Codec("dead_letter").decode(output.value)
    assert (found["topic"], found["partition"], found["offset"], found["key"]) == ("touchpoints", 3, 7, b"\xffkey")
    assert (found["value"], found["error"], found["service"]) == (b"", "empty value", "identity")
    assert found["failed_at"] == 5
    assert json.loads(found["headers"]) == {"seq": "", "bad": "\N{REPLACEMENT CHARACTER}" * 2}


def test_a_dead_letter_names_the_release_and_has_the_registrys_schema_id() -> None:
    class Other(CommittedRegistry):
        def id_of(self, schema: Schema) -> int:
            return 7

    projects = [ROOT / "pyproject.toml", *ROOT.glob("services/*/pyproject.toml")]
    versions = {tomllib.loads(path.read_text())["project"]["version"] for path in projects}
    output = dead_letter(Record("t", 0, 0, b"k", b"v", {}, 1), "identity", "why", 4, Other(), 5)
    assert (output.value or b"")[:5] == b"\0" + (7).to_bytes(4, "big")
    output = dead_letter(Record("t", 0, 0, b"k", b"v", {}, 1), "identity", "why", 4, open_registry(), 5)
    assert {Codec("dead_letter").decode(output.value)["code_version"]} == versions


def test_an_entry_comes_back_from_the_outbox_as_it_was() -> None:
    entry = Entry([Output("t", 3, b"k", None), Output("u", 0, b"\x00\xff", b"v", [("a", b"1"), ("a", b"2")])], ["key"])
    assert unpack_entry(pack_entry(entry)) == entry
