"""The outside of what SDKs send: bodies, batches and messages, as Segment and RudderStack define them.

Decoding never raises for a client's bytes: it gives a Problem. Numbers with a point are Decimals, so that no amount
ever was a float.
"""

import re
from decimal import Decimal
from math import isinf
from typing import Any

import msgspec

from services.ingest.core.problems import Problem

LARGE_EXPONENT = 300
# A body of two-byte events would otherwise take a hundred times its size in memory.
MAX_EVENTS = 20_000
# Stands where a character was lost (half an emoji, a wrong encoding). Identifiers and message ids with it are refused:
# different ones would become the same text, and strangers one customer.
REPLACEMENT = "\ufffd"


class Message(msgspec.Struct, rename="camel"):
    """One call of an SDK. Every field is unchecked JSON; None is the same as absent; other fields are dropped."""

    type: Any = None
    event: Any = None
    name: Any = None
    category: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    previous_id: Any = None
    group_id: Any = None
    message_id: Any = None
    timestamp: Any = None
    original_timestamp: Any = None
    sent_at: Any = None
    properties: Any = None
    traits: Any = None
    context: Any = None
    integrations: Any = None
    write_key: Any = None


class Batch(msgspec.Struct, rename="camel"):
    """The body of batch and import. Events stay bytes until their turn: one bad event must not spoil the others."""

    batch: list[msgspec.Raw] | None = None
    sent_at: Any = None
    context: Any = None
    write_key: Any = None


class Body(msgspec.Struct, frozen=True):
    """A body taken apart: its events as bytes and what the batch says for all of them."""

    events: list[bytes]
    sent_at: object = None
    context: object = None
    write_key: object = None


def _number(text: str) -> Decimal:
    value = Decimal(text)
    # Whoever reads the record later may read it as a double; what that cannot hold must not get so far.
    if value.adjusted() > LARGE_EXPONENT and isinf(float(value)):
        raise ValueError(f"number out of range: {text[:20]}")
    return value


_message_decoder = msgspec.json.Decoder(Message, float_hook=_number)
_batch_decoder = msgspec.json.Decoder(Batch, float_hook=_number)
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder(decimal_format="number")
# What decoding raises for bytes of anybody's making: syntax, UTF-8, nesting, numbers beyond all bounds.
_ERRORS = (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError)

# JavaScript and Python write half an emoji (a cut string) as a lone surrogate, which is no character and no UTF-8.
_SURROGATES = re.compile(
    rb"(\\\\)|(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def mend_surrogates(raw: bytes) -> bytes:
    """Lone surrogate escapes become U+FFFD; all else stays."""
    return _SURROGATES.sub(lambda match: rb"\ufffd" if match[3] else match[0], raw)


def encode_json(value: object) -> bytes:
    """Compact JSON, keys in the order they came; the same value gives the same bytes."""
    return _encoder.encode(value)


def decode_message(raw: bytes) -> Message | Problem:
    """One event."""
    try:
        return _message_decoder.decode(raw)
    except _ERRORS as error:
        first = error
    try:
        return _message_decoder.decode(mend_surrogates(raw))
    except _ERRORS:
        return _problem(first)


def split_batch(raw: bytes, max_events: int = MAX_EVENTS) -> Body | Problem:
    """{"batch": [...], "sentAt", "context", "writeKey"} → its events."""
    try:
        raw.decode()
        batch = _decode_batch(raw)
    except _ERRORS as error:
        return _problem(error)
    if batch.batch is None:
        return Problem("batch_missing", "batch", "the body has no array named batch")
    if len(batch.batch) > max_events:
        return _too_many(len(batch.batch), max_events)
    return Body([bytes(event) for event in batch.batch], batch.sent_at, batch.context, batch.write_key)


def split_import(raw: bytes, max_events: int = MAX_EVENTS) -> Body | Problem:
    """A batch object, a JSON array of events, or JSON lines (one event a line) → events."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return _problem(error)
    start = raw.lstrip()[:1]
    if start == b"[":
        try:
            events = _array_decoder.decode(mend_surrogates(raw))
        except _ERRORS as error:
            return _problem(error)
        too_many = len(events) > max_events
        return _too_many(len(events), max_events) if too_many else Body([bytes(event) for event in events])
    return _split_lines(raw, max_events)


def _split_lines(raw: bytes, max_events: int) -> Body | Problem:
    lines = [line for line in raw.splitlines() if line.strip()]
    if len(lines) < 2 or not (_is_object(lines[0]) or _is_object(lines[1])):
        whole = split_batch(raw, max_events)
        is_one_event = isinstance(whole, Problem) and whole.code == "batch_missing"
        return Body([raw]) if is_one_event else whole
    if len(lines) > max_events:
        return _too_many(len(lines), max_events)
    # A line that is no JSON is refused by itself, with its bytes, when its turn comes.
    return Body([bytes(line) for line in lines])


def _decode_batch(raw: bytes) -> Batch:
    try:
        return _batch_decoder.decode(raw)
    except _ERRORS:
        return _batch_decoder.decode(mend_surrogates(raw))


def _is_object(line: bytes) -> bool:
    try:
        msgspec.json.decode(mend_surrogates(line), type=dict[str, msgspec.Raw])
    except _ERRORS:
        return False
    return True


def _too_many(count: int, limit: int) -> Problem:
    return Problem("too_many_events", "batch", f"{count} events, at most {limit}")


def _problem(error: Exception) -> Problem:
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        text = f"no UTF-8 at byte {error.start}"
    elif isinstance(error, RecursionError):
        text = "nested too deep"
    elif isinstance(error, msgspec.ValidationError) and text.startswith("Expected"):
        return Problem("not_an_object", "", text)
    elif isinstance(error, ArithmeticError):
        text = "a number is out of range"
    return Problem("json_malformed", "", text[:200])
