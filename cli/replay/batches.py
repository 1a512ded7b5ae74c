"""Records → batches of messages: what is sent together, and what of the file it accounts for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from cli.replay.bind import Skip
from cli.replay.files import Record
from cli.replay.values import LineError, Row

# An interruption repeats at most the batches under way: more lines repeat more, fewer cost a request and a look at the
# journal each. BATCH_BYTES stays well below ingest's limit of an import (10 MiB as shipped).
BATCH_LINES = 1_000
BATCH_BYTES = 4 << 20
BLANK = Skip("blank line")
MessageOf = Callable[[Row, int], bytes | Skip]


@dataclass(slots=True)
class Batch:
    """Consecutive records: `lines[i]` is where `messages[i]` came from; the others are skipped or failed."""

    number: int
    records: int = 0
    messages: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    skipped: list[tuple[str, int]] = field(default_factory=list)
    failed: list[tuple[str, int, str]] = field(default_factory=list)
    # Lines that are no JSON stand last: ingest tells JSON lines from other bodies by the first two.
    malformed: list[tuple[bytes, int]] = field(default_factory=list)


class Malformed(Exception):  # noqa: N818
    """The line is no JSON object: it is sent as it stands, so that ingest keeps it among the rejected."""


def make_batches(
    records: Iterator[Record], message_of: MessageOf, done_records: int = 0, most: int = BATCH_LINES
) -> Iterator[Batch]:
    """Batches of at most `most` records each, of those after the first `done_records`, in order."""
    number = 0
    batch = Batch(number)
    size = 0
    for record in islice(records, done_records, None):
        batch.records += 1
        size += _add(batch, record, message_of)
        if batch.records >= most or size >= BATCH_BYTES:
            yield batch
            number, size = number + 1, 0
            batch = Batch(number)
    if batch.records:
        yield batch


def _add(batch: Batch, record: Record, message_of: MessageOf) -> int:
    try:
        if record.error is not None:
            raise record.error
        message = BLANK if record.row is None else message_of(record.row, record.line)
    except LineError as error:
        batch.failed.append((error.reason, record.line, error.shown))
        return 0
    except Malformed:
        batch.malformed.append((record.row, record.line))
        return len(record.row)
    if isinstance(message, Skip):
        batch.skipped.append((message.reason, record.line))
        return 0
    batch.messages.append(message)
    batch.lines.append(record.line)
    return len(message)


class _Head(msgspec.Struct, rename="camel"):
    message_id: object = None


_head = msgspec.json.Decoder(_Head)
_whole = msgspec.json.Decoder(dict[str, msgspec.Raw])


def pass_through(file_id: str) -> MessageOf:
    """JSON lines without a mapping are messages already; those without an id get one that a repetition has again."""

    def message_of(row: bytes, line: int) -> bytes:
        # A carriage return within JSON is white space, and ingest would see the end of a line.
        raw = row.replace(b"\r", b" ")
        try:
            if _head.decode(raw).message_id:
                return raw
            whole = _whole.decode(raw)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise Malformed from None
        return msgspec.json.encode({**whole, "messageId": f"{file_id}-{line}"})

    return message_of
