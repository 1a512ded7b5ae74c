"""The codec: wire format, what it refuses and with which words."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.avro import Codec
from services.chassis.errors import Fatal, Poison
from services.chassis.schemas import SCHEMAS
from services.chassis.testing.examples import all_examples

CODEC = Codec("touchpoint")
VALUE = next(example.value for example in all_examples("touchpoint") if example.name == "order_completed")
MINIMUM: dict[str, Any] = {
    "event_id": "e", "source": "s", "type": "track", "name": "n", "identifiers": ["user_id:1"],
    "occurred_at": 1, "received_at": 2,
}  # fmt: skip


def test_a_value_begins_with_zero_and_the_committed_id() -> None:
    assert CODEC.encode(MINIMUM)[:5] == b"\x00" + (2_000_000_101).to_bytes(4, "big")


def test_the_same_record_is_the_same_bytes_in_every_process_from_every_directory(tmp_path: Path) -> None:
    code = f"from services.chassis.avro import Codec; print(Codec('touchpoint').encode({MINIMUM!r}).hex())"
    for option in ((), ("-O",)):
        command = [sys.executable, *option, "-c", code]
        output = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(SCHEMAS.parent)}, capture_output=True, text=True, check=True
        ).stdout
        assert bytes.fromhex(output.strip()) == CODEC.encode(MINIMUM)


def test_fields_left_out_are_at_their_default() -> None:
    decoded = CODEC.decode(CODEC.encode(MINIMUM))
    assert decoded == MINIMUM | {
        "order_id": "", "amount_minor": 0, "currency": "", "properties": b"{}", "traits": b"{}", "context": b"{}",
        "originals": b"{}", "flags": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"amount": 1}, ValueError),
        ({"source": None}, TypeError),
        ({"flags": "1"}, TypeError),
        ({"properties": "{}"}, TypeError),
        ({"occurred_at": 2**63}, OverflowError),
        ({"name": "\ud800"}, ValueError),
    ],
)
def test_a_record_that_does_not_fit_the_schema_is_not_written(
    change: dict[str, Any], expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        CODEC.encode(MINIMUM | change)


def test_a_missing_field_is_not_written() -> None:
    with pytest.raises(ValueError, match="event_id"):
        CODEC.encode({"source": "s"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "touchpoint: empty value"),
        (b"", "touchpoint: empty value"),
        (b'{"event": "x"}', "touchpoint: value begins with 7b 22 65 76 65, expected 00 and a schema id"),
        (b"\x00\x00\x01", "touchpoint: value begins with 00 00 01, expected 00 and a schema id"),
        (b"\x00\x00\x00\x00\x07rest", "schema id 7 is unknown to this release"),
        (VALUE + b"\x00", f"ends at byte {len(VALUE)} of {len(VALUE) + 1}"),
        (VALUE[:-1], f"{len(VALUE) - 1} bytes do not hold a record of schema id 2000000101: EOFError"),
        (
            next(all_examples("trigger")).value,
            "schema id 2000000701 is a touchstream.trigger, expected touchstream.touch",
        ),
    ],
)
def test_poison_says_what_was_found(value: bytes | None, expected: str) -> None:
    with pytest.raises(Poison, match=expected):
        CODEC.decode(value)


def test_a_value_cut_off_anywhere_is_poison() -> None:
    for length in range(len(VALUE)):
        with pytest.raises(Poison):
            CODEC.decode(VALUE[:length])


@given(st.binary(max_size=200))
def test_whatever_follows_the_id_decodes_or_is_poison(rest: bytes) -> None:
    try:
        decoded = CODEC.decode(VALUE[:5] + rest)
    except Poison:
        return
    assert CODEC.decode(CODEC.encode(decoded)) == decoded


@given(st.integers(min_value=5, max_value=len(VALUE) - 1), st.integers(min_value=0, max_value=255))
def test_a_flipped_byte_decodes_or_is_poison(place: int, byte: int) -> None:
    try:
        CODEC.decode(VALUE[:place] + bytes([byte]) + VALUE[place + 1 :])
    except Poison:
        return


TEXT = st.text(max_size=40)
LONG = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@given(
    st.fixed_dictionaries(
        {"event_id": TEXT, "source": TEXT, "type": TEXT, "name": TEXT, "identifiers": st.lists(TEXT, max_size=5)}
        | {"occurred_at": LONG, "received_at": LONG, "order_id": TEXT, "amount_minor": LONG, "currency": TEXT}
        | {name: st.binary(max_size=60) for name in ("properties", "traits", "context", "originals")}
        | {"flags": st.integers(min_value=-(2**31), max_value=2**31 - 1)}
    )
)
def test_every_record_survives_the_wire(record: dict[str, Any]) -> None:
    assert CODEC.decode(CODEC.encode(record)) == record


def test_a_record_that_no_schema_describes_is_fatal() -> None:
    with pytest.raises(Fatal, match="no schema of touchpiont v1"):
        Codec("touchpiont")
