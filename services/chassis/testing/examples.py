"""The examples of schemas/, as records and as bytes on the wire: every consumer's tests run over all of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from services.chassis.avro import Codec
from services.chassis.schemas import SCHEMAS, published

HEX = "hex:"


class Example(NamedTuple):
    """`fields` is what a decoder hands out: every field of the record, those the file leaves out at their default."""

    record: str
    name: str
    fields: dict[str, Any]
    value: bytes


def all_examples(record: str = "", folder: Path = SCHEMAS) -> Iterator[Example]:
    """Every example, or those of one record, by record and name; written with the newest schema of the newest major."""
    for name in sorted({schema.record for schema in published(folder).values()}):
        if record in ("", name):
            yield from _of_record(name, folder)


def _of_record(record: str, folder: Path) -> Iterator[Example]:
    major = max(schema.major for schema in published(folder).values() if schema.record == record)
    codec = Codec(record, major=major)
    for path in sorted((folder / record / "examples").glob("*.json")):
        value = codec.encode(load_example(path, codec.schema.text))
        yield Example(record, path.stem, codec.decode(value), value)


def load_example(path: Path, schema: str) -> dict[str, Any]:
    """The fields an example file states, ready to encode.

    A field of bytes stands there as JSON (an object or array, encoded without spaces), as plain text, or as
    "hex:1f 8b" where it holds no text.
    """
    types = {field["name"]: field["type"] for field in json.loads(schema)["fields"]}
    stated: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: _bytes_of(value) if types.get(name) == "bytes" else value for name, value in stated.items()}


def _bytes_of(value: Any) -> bytes:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return bytes.fromhex(value.removeprefix(HEX)) if value.startswith(HEX) else value.encode()
