"""Records on the wire: Avro in the Confluent format, 0x00 + schema id (4 bytes, big-endian) + the record.

Knows no record by name: the schemas come from schemas/, the ids from a registry (registry.py).
"""

import json
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from services.chassis.avro_source import decoder_of, encoder_of
from services.chassis.errors import Poison
from services.chassis.registry import Registry, open_registry
from services.chassis.schemas import Schema, newest

MAGIC = 0
HEADER_BYTES = 5


class Codec:
    """Encodes and decodes one record: dicts of str, int, bool, bytes and lists, as the schema says.

    Written with the newest schema of the major. Values of older or newer schemas of it decode to the same fields:
    unknown ones dropped, missing ones at their default. Safe to share between threads.

    The usual case goes through source made from the schema (avro_source.py), everything else and every error through
    fastavro: `python tests/bench/codec_speed.py`.
    """

    def __init__(
        self, record: str, registry: Registry | None = None, major: int = 1, schema: Schema | None = None
    ) -> None:
        """registry: open_registry(url), default the committed ids; schema: another one than the newest (tests)."""
        self._registry = registry if registry is not None else open_registry()
        self.schema = schema if schema is not None else newest(record, major)
        self.record = record
        self._own = _parse(self.schema.text)
        self._prefix = b""
        self._writers: dict[bytes, _Writer] = {}
        self._encode, self._decode = encoder_of(self._own), decoder_of(self._own)

    def encode(self, record: dict[str, Any]) -> bytes:
        """The value to produce. Fields with a default may be left out.

        Raises ValueError (a bug of ours, not the client's) for a missing or unknown field, TypeError for a wrong type;
        with a registry, the first call blocks for its answer and raises Retriable or Fatal.
        """
        prefix = self._prefix or self._load_prefix()
        if self._encode is not None:
            try:
                return self._encode(prefix, record)
            except Exception:  # noqa: BLE001, S110 - unusual, or wrong: fastavro says which
                pass
        out = BytesIO()
        out.write(prefix)
        # Strict: fastavro would drop a misspelt field without a word.
        schemaless_writer(out, self._own, record, strict_allow_default=True)
        return out.getvalue()

    def decode(self, value: bytes | None) -> dict[str, Any]:
        """The record in a value. Raises Poison with what was found, Retriable when a registry is needed and silent."""
        if not value:
            raise Poison(f"{self.record}: empty value")
        writer = self._writers.get(value[:HEADER_BYTES]) or self._load_writer(value)
        if writer.reader is None and self._decode is not None:
            try:
                usual, end = self._decode(value, HEADER_BYTES)
            except Exception:  # noqa: BLE001 - bytes of anybody's making: fastavro says what is wrong, if anything is
                end = -1
            if end == len(value):
                return usual
        source = BytesIO(value)
        source.seek(HEADER_BYTES)
        try:
            record: dict[str, Any] = schemaless_reader(source, writer.schema, writer.reader)  # type: ignore[assignment]
        except Exception as error:  # bytes of anybody's making: the parser's errors have no common base
            raise Poison(
                f"{self.record}: {len(value)} bytes do not hold a record of schema id {writer.schema_id}: "
                f"{type(error).__name__} {error} at byte {source.tell()}"
            ) from error
        if source.tell() != len(value):
            raise Poison(
                f"{self.record}: record of schema id {writer.schema_id} ends at byte {source.tell()} of {len(value)}"
            )
        for name in writer.fresh_lists:
            record[name] = []
        return record

    def _load_prefix(self) -> bytes:
        self._prefix = bytes([MAGIC]) + self._registry.id_of(self.schema).to_bytes(4, "big")
        return self._prefix

    def _load_writer(self, value: bytes) -> "_Writer":
        header = value[:HEADER_BYTES]
        if header[0] != MAGIC or len(header) < HEADER_BYTES:
            raise Poison(
                f"{self.record}: value begins with {header.hex(' ')}, expected 00 and a schema id of 4 bytes "
                "(Confluent wire format)"
            )
        schema_id = int.from_bytes(header[1:], "big")
        self._writers[header] = writer = _Writer(
            schema_id, _parse(self._registry.text_of(schema_id)), self._own, self.record
        )
        return writer


class _Writer:
    """How to read values of one schema id as the codec's own schema."""

    __slots__ = ("fresh_lists", "reader", "schema", "schema_id")

    def __init__(self, schema_id: int, schema: dict[str, Any], own: dict[str, Any], record: str) -> None:
        if schema["name"] != own["name"]:
            raise Poison(f"schema id {schema_id} is a {schema['name']}, expected {own['name']}")
        self.schema_id = schema_id
        self.schema = schema
        self.reader = None if _shape(schema) == _shape(own) else own
        written = {field["name"] for field in schema["fields"]}
        missing = [field for field in own["fields"] if field["name"] not in written]
        without_default = [field["name"] for field in missing if "default" not in field]
        if without_default:
            raise Poison(f"{record}: schema id {schema_id} lacks {', '.join(without_default)}")
        # fastavro hands out the schema's own list as the default: one record's append would change all the others.
        self.fresh_lists = tuple(field["name"] for field in missing if field["default"] == [])


def _parse(text: str) -> dict[str, Any]:
    schema = parse_schema(json.loads(text))
    if not isinstance(schema, dict) or "fields" not in schema:
        raise Poison(f"schema is no record: {text[:80]}")
    for field in schema["fields"]:
        # Avro writes a default of bytes as text, code point = byte; fastavro does not translate it back.
        if field["type"] == "bytes" and isinstance(field.get("default"), str):
            field["default"] = field["default"].encode("latin-1")
    return schema


def _shape(schema: dict[str, Any]) -> list[tuple[str, str]]:
    return [(field["name"], repr(_bare(field["type"]))) for field in schema["fields"]]


def _bare(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _bare(v) for k, v in sorted(node.items()) if k in ("type", "name", "items", "fields")}
    return [_bare(item) for item in node] if isinstance(node, list) else node
