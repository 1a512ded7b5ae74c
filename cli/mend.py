"""A refused event made ready to be sent again: edits by the operator, and the body in which it goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from services.ingest.core.envelope import encode_json, mend_surrogates
from services.ingest.endpoints import ENDPOINTS, Limit

TYPES = {path: each.type for each in ENDPOINTS for path in (each.path, *each.aliases)}
IMPORTS = frozenset(each.path for each in ENDPOINTS if each.limit is Limit.IMPORT)
BATCH, IMPORT = "/v1/batch", "/v1/import"
_decoder = msgspec.json.Decoder(float_hook=Decimal)


class MendError(ValueError):
    """The edits or the bytes do not allow it; the text says why."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`path=value`: what to set where."""

    path: tuple[str, ...]
    value: Any


def parse_edit(text: str) -> Edit:
    """`traits.phone="139…"`; a value that is no JSON is text. Raises MendError."""
    path, equals, value = text.partition("=")
    names = tuple(path.strip().split("."))
    if not equals or not all(names):
        raise MendError(f"{text!r}: expected path=value, e.g. userId=u1 or traits.phone=null")
    try:
        return Edit(names, _decode(value.encode()))
    except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError):
        return Edit(names, value)


@dataclass(frozen=True, slots=True)
class Ready:
    """An event for the batch of an endpoint, or (`is_whole`) a body of its own."""

    endpoint: str
    body: bytes
    is_whole: bool


def make_ready(rejected_id: str, endpoint: str, raw: bytes, edits: Sequence[Edit]) -> Ready:
    """What to send for a refused event. Raises MendError when edits cannot be applied.

    A live event goes through batch and an imported one through import: imports fire no rules. An event without
    an id gets one that a repetition has again. What is no single event (a body that could not be taken apart) goes as
    it came.
    """
    try:
        event = _decode(raw)
    except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as error:
        if edits:
            raise MendError(f"its bytes are no JSON ({error}), nothing in them can be edited") from error
        return Ready(endpoint, raw, True)
    for edit in edits:
        _apply(event, edit)
    if not isinstance(event, dict) or isinstance(event.get("batch"), list):
        return Ready(endpoint, encode_json(event) if edits else raw, True)
    kind = TYPES.get(endpoint, "")
    event |= {"type": kind} if kind else {}
    if not event.get("messageId"):
        event["messageId"] = f"resend-{rejected_id}"
    return Ready(IMPORT if endpoint in IMPORTS else BATCH, encode_json(event), False)


def _decode(raw: bytes) -> Any:
    # As ingest reads it: decimals keep their digits (1.10 must not become 1.1), half an emoji is mended.
    return _decoder.decode(mend_surrogates(raw))


def _apply(event: Any, edit: Edit) -> None:
    inner, shown = event, ".".join(edit.path)
    for name in edit.path[:-1]:
        inner = _step(inner, name, shown)
    last = edit.path[-1]
    if isinstance(inner, list):
        _step(inner, last, shown)
        inner[int(last)] = edit.value
    elif isinstance(inner, dict):
        inner[last] = edit.value
    else:
        raise MendError(f"{shown}: `{last}` has no place in {type(inner).__name__}")


def _step(inner: Any, name: str, shown: str) -> Any:
    if isinstance(inner, list):
        if name.isdecimal() and int(name) < len(inner):
            return inner[int(name)]
        raise MendError(f"{shown}: no element {name} in a list of {len(inner)}")
    if isinstance(inner, dict):
        if inner.get(name) is None:
            inner[name] = {}
        return inner[name]
    raise MendError(f"{shown}: `{name}` is not within an object")
