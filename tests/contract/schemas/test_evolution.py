"""Old reader × new data and new reader × old data, run over every example of every record.

Both for the versions that exist and for a next one made up here, so that the promise is tested before it is needed.
"""

import json
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest

from services.chassis.avro import Codec
from services.chassis.errors import Poison
from services.chassis.schemas import Schema, fingerprint, newest, published
from services.chassis.testing.examples import all_examples

RECORDS = sorted({schema.record for schema in published().values()})
ADDED: dict[str, tuple[Any, Any]] = {
    "extra_text": ("string", "none"),
    "extra_count": ("int", -1),
    "extra_long": ("long", 2**40),
    "extra_flag": ("boolean", True),
    "extra_json": ("bytes", '{"a":"ÿ"}'),
    "extra_list": ({"type": "array", "items": "string"}, []),
}


class Versions:
    """A registry that holds made-up versions beside the committed ones."""

    def __init__(self, *schemas: Schema) -> None:
        self._texts = {schema.schema_id: schema.text for schema in schemas}

    def id_of(self, schema: Schema) -> int:
        return schema.schema_id

    def text_of(self, schema_id: int) -> str:
        return self._texts[schema_id]


def _next_version(old: Schema) -> tuple[Schema, str]:
    """The schema with a field of every type added in front, and its last field that has a default removed."""
    parsed = json.loads(old.text)
    removed: str = next(field["name"] for field in reversed(parsed["fields"]) if "default" in field)
    kept = [field for field in parsed["fields"] if field["name"] != removed]
    added = [{"name": name, "type": kind, "default": default} for name, (kind, default) in ADDED.items()]
    text = json.dumps({**parsed, "fields": added + kept})
    new_id = old.schema_id + 90
    return Schema(new_id, old.record, old.major, old.minor + 1, fingerprint(text), text), removed


def _defaults(schema: Schema) -> dict[str, Any]:
    fields = json.loads(schema.text)["fields"]
    return {
        field["name"]: field["default"].encode("latin-1") if field["type"] == "bytes" else field["default"]
        for field in fields
        if "default" in field
    }


@pytest.mark.parametrize("record", RECORDS)
def test_a_new_reader_takes_old_values_with_defaults_for_what_is_new(record: str) -> None:
    old, (new, removed) = newest(record, 1), _next_version(newest(record, 1))
    reader = Codec(record, Versions(old, new), schema=new)
    for example in all_examples(record):
        decoded = reader.decode(example.value)
        kept = {name: value for name, value in example.fields.items() if name != removed}
        assert decoded == kept | {name: _defaults(new)[name] for name in ADDED}


@pytest.mark.parametrize("record", RECORDS)
def test_an_old_reader_takes_new_values_and_misses_nothing_it_needs(record: str) -> None:
    old, (new, removed) = newest(record, 1), _next_version(newest(record, 1))
    registry = Versions(old, new)
    writer, reader = Codec(record, registry, schema=new), Codec(record, registry, schema=old)
    for example in all_examples(record):
        fields = {name: value for name, value in example.fields.items() if name != removed}
        value = writer.encode(fields | {"extra_list": ["a", "王"], "extra_json": b"[1]"})
        assert reader.decode(value) == example.fields | {removed: _defaults(old)[removed]}


def _pairs_that_exist() -> Iterator[tuple[Schema, Schema]]:
    for one, other in permutations(published().values(), 2):
        if (one.record, one.major) == (other.record, other.major):
            yield one, other


def test_all_versions_that_exist_read_each_other() -> None:
    for written, read in _pairs_that_exist():
        writer, reader = Codec(written.record, schema=written), Codec(read.record, schema=read)
        for example in all_examples(written.record):
            known = {field["name"] for field in json.loads(written.text)["fields"]}
            fields = {name: value for name, value in example.fields.items() if name in known}
            decoded = reader.decode(writer.encode(fields))
            assert {**decoded, **{name: fields[name] for name in decoded.keys() & fields.keys()}} == decoded


def test_a_default_list_is_nobody_elses() -> None:
    old, (new, _) = newest("touchpoint", 1), _next_version(newest("touchpoint", 1))
    reader = Codec("touchpoint", Versions(old, new), schema=new)
    value = next(all_examples("touchpoint")).value
    reader.decode(value)["extra_list"].append("mine")
    assert reader.decode(value)["extra_list"] == []


def test_a_writer_without_a_field_that_the_reader_needs_is_poison() -> None:
    old = newest("delivery", 1)
    parsed = json.loads(old.text)
    parsed["fields"] = [field for field in parsed["fields"] if field["name"] != "rule"]
    bad = Schema(old.schema_id + 1, "delivery", 1, 1, "", json.dumps(parsed))
    registry = Versions(old, bad)
    fields = {name: value for name, value in next(all_examples("delivery")).fields.items() if name != "rule"}
    value = Codec("delivery", registry, schema=bad).encode(fields)
    with pytest.raises(Poison, match=r"schema id 2000000802 lacks rule"):
        Codec("delivery", registry).decode(value)
