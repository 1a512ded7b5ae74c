"""Encoders and decoders made from the schemas do what fastavro does, or leave it to it."""

from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import avro
from services.chassis.avro import Codec
from services.chassis.avro_source import SHORT, Unusual, decoder_of, encoder_of
from services.chassis.testing.examples import all_examples

INNER = {"type": "record", "name": "inner", "fields": [{"name": "t", "type": "string"}, {"name": "n", "type": "long"}]}
FIELDS = {
    "text": "string",
    "raw": "bytes",
    "small": "int",
    "large": "long",
    "flag": "boolean",
    "texts": {"type": "array", "items": "string"},
    "rows": {"type": "array", "items": INNER},
}
SCHEMA: dict[str, Any] = parse_schema(  # type: ignore[assignment]
    {"type": "record", "name": "all", "fields": [{"name": name, "type": kind} for name, kind in FIELDS.items()]}
)
ENCODE, DECODE = encoder_of(SCHEMA), decoder_of(SCHEMA)
assert ENCODE is not None
assert DECODE is not None
LONG = st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 70) | st.sampled_from([8191, 8192, -8192, 2**41])
TEXT = st.text(max_size=80)
RECORDS = st.fixed_dictionaries(
    {
        "text": TEXT,
        "raw": st.binary(max_size=200),
        "small": st.integers(-(2**31), 2**31 - 1),
        "large": LONG,
        "flag": st.booleans(),
        "texts": st.lists(TEXT, max_size=70),
        "rows": st.lists(st.fixed_dictionaries({"t": TEXT, "n": LONG}), max_size=3),
    }
)
RECORD = {"text": "a", "raw": b"b", "small": 1, "large": 2, "flag": True, "texts": ["c"], "rows": [{"t": "d", "n": 3}]}


def by_fastavro(record: dict[str, Any]) -> bytes:
    out = BytesIO()
    schemaless_writer(out, SCHEMA, record, strict_allow_default=True)
    return out.getvalue()


@given(RECORDS)
def test_a_record_is_the_same_bytes_and_comes_back(record: dict[str, Any]) -> None:
    written = by_fastavro(record)
    assert ENCODE(b"prefix", record) == b"prefix" + written
    assert DECODE(b"prefix" + written, 6) == (record, 6 + len(written))


@given(st.sampled_from(sorted(FIELDS)), st.one_of(RECORDS, TEXT, LONG, st.none(), st.floats(), st.binary(max_size=9),
       st.lists(TEXT | st.none() | st.binary(max_size=3), max_size=3), st.booleans(), st.integers(2**63, 2**65),
       st.just(()), st.just((None,)), st.just(bytearray(b"x")), st.just("\ud800")))  # fmt: skip
def test_what_is_written_fastavro_writes_too(name: str, value: object) -> None:
    record = RECORD | {name: value}
    try:
        made = ENCODE(b"", record)
    except Exception:  # noqa: BLE001 - left to fastavro
        return
    assert made == by_fastavro(record)


@pytest.mark.parametrize("record", [{}, {"text": "a"}, RECORD | {"more": 1}, RECORD | {"text": "x" * SHORT}])
def test_a_record_that_is_not_of_the_usual_kind_is_left_to_fastavro(record: dict[str, Any]) -> None:
    with pytest.raises((Unusual, IndexError)):
        ENCODE(b"", record)


@given(st.binary(max_size=60))
def test_what_is_read_fastavro_reads_too(value: bytes) -> None:
    check_reading(value)


@given(RECORDS, st.data())
def test_what_is_read_of_spoilt_bytes_fastavro_reads_too(record: dict[str, Any], data: st.DataObject) -> None:
    value = bytearray(by_fastavro(record))
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    check_reading(bytes(value))


def check_reading(value: bytes) -> None:
    try:
        record, end = DECODE(value, 0)
    except Exception:  # noqa: BLE001 - left to fastavro
        return
    if end == len(value):
        source = BytesIO(value)
        assert record == schemaless_reader(source, SCHEMA, None)
        assert source.tell() == end


@pytest.mark.parametrize("number", ["ff" * 9 + "02", "ff" * 9 + "7f", "ff" * 10 + "01", "80" * 12])
def test_a_number_beyond_64_bits_is_left_to_fastavro(number: str) -> None:
    decode = decoder_of({"fields": [{"name": "n", "type": "long"}]})
    assert decode is not None
    with pytest.raises(Unusual):
        decode(bytes.fromhex(number), 0)


@pytest.mark.parametrize("kind", ["double", ["null", "string"], {"type": "map", "values": "long"}, INNER,
                                  {"type": "array", "items": {"type": "array", "items": "long"}}])  # fmt: skip
def test_other_types_are_left_to_fastavro(kind: object) -> None:
    schema = {"fields": [{"name": "x", "type": kind}]}
    assert (encoder_of(schema), decoder_of(schema)) == (None, None)


@pytest.mark.parametrize("example", list(all_examples()), ids=str)
def test_every_example_takes_the_quick_way(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the work would be lost without a word."""
    codec = Codec(example.record)
    slow = codec.decode(codec.encode(example.fields))
    for name in ("schemaless_writer", "schemaless_reader"):
        monkeypatch.setattr(avro, name, lambda *args, **options: pytest.fail("asked fastavro"))
    assert codec.decode(codec.encode(slow)) == slow
