"""What travels through a service: a Record comes in, an Output goes out, a Decision is everything one apply changes."""

from dataclasses import dataclass, field

import msgspec


@dataclass(slots=True)
class Record:
    """One record of an input partition. `poison` is set by the loop when processing it failed three times."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None
    headers: dict[str, bytes]
    log_ms: int
    poison: str = ""


class Output(msgspec.Struct, array_like=True):
    """One record to be produced. The relay adds the header `seq`. value None is a tombstone."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]] = []


class Entry(msgspec.Struct, array_like=True):
    """What one batch must send: outputs in order, then keys (of any slot) to delete."""

    outputs: list[Output]
    late_deletes: list[str] = []


@dataclass(slots=True)
class Decision:
    """Everything one apply changes for one input partition, atomically."""

    sets: dict[str, bytes] = field(default_factory=dict)
    deletes: list[str] = field(default_factory=list)
    due: dict[str, int | None] = field(default_factory=dict)
    waits: dict[str, str | None] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    late_deletes: list[str] = field(default_factory=list)


_entry_encoder = msgspec.msgpack.Encoder()
_entry_decoder = msgspec.msgpack.Decoder(Entry)


def pack_entry(entry: Entry) -> bytes:
    """An Entry as it is stored in the outbox."""
    return _entry_encoder.encode(entry)


def unpack_entry(blob: bytes) -> Entry:
    """The inverse of pack_entry."""
    return _entry_decoder.decode(blob)
