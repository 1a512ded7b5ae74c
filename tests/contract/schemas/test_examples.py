"""Every example is a record that can be written and read, and says something the record is about."""

import json
from pathlib import Path

import pytest

from services.chassis.avro import Codec
from services.chassis.schemas import SCHEMAS, published
from services.chassis.testing.examples import Example, all_examples, load_example

EXAMPLES = list(all_examples())
RECORDS = sorted({schema.record for schema in published().values()})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.record}/{e.name}")
def test_every_example_survives_the_wire(example: Example) -> None:
    codec = Codec(example.record)
    stated = load_example(SCHEMAS / example.record / "examples" / f"{example.name}.json", codec.schema.text)
    decoded = codec.decode(example.value)
    assert decoded == {**decoded, **stated}
    assert codec.encode(decoded) == example.value


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.record}/{e.name}")
def test_bytes_that_the_doc_calls_json_hold_json_of_that_kind(example: Example) -> None:
    kinds = {"JSON object": dict, "JSON array": list}
    for field in json.loads(Codec(example.record).schema.text)["fields"]:
        for words, kind in kinds.items():
            if words in field["doc"]:
                assert isinstance(json.loads(example.fields[field["name"]]), kind), field["name"]


@pytest.mark.parametrize("record", RECORDS)
def test_every_record_has_several_examples(record: str) -> None:
    assert len(list(all_examples(record))) >= 3


@pytest.mark.parametrize("record", RECORDS)
def test_every_field_is_shown_by_an_example(record: str) -> None:
    codec = Codec(record)
    shown: set[str] = set()
    for path in (SCHEMAS / record / "examples").glob("*.json"):
        shown |= load_example(path, codec.schema.text).keys()
    assert {field["name"] for field in json.loads(codec.schema.text)["fields"]} == shown


def test_no_example_lies_where_nobody_looks() -> None:
    files = {path.relative_to(SCHEMAS) for path in SCHEMAS.rglob("*.json")}
    assert files == {Path(example.record) / "examples" / f"{example.name}.json" for example in EXAMPLES}
