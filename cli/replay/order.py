"""`replay --clock event` takes files in the order of their times: checked as a whole before anything is sent."""

from collections.abc import Iterator

import msgspec

from cli.replay.batches import Batch
from cli.replay.files import FileRefused
from services.ingest.core.times import parse_time


class _Time(msgspec.Struct, rename="camel"):
    timestamp: object = None
    original_timestamp: object = None


_time = msgspec.json.Decoder(_Time)


def assert_in_order(batches: Iterator[Batch]) -> None:
    """Raises FileRefused naming the first line without a time, or with one that is earlier than a line before it."""
    last_ms, last_line = 0, 0
    for batch in batches:
        for message, line in zip(batch.messages, batch.lines, strict=True):
            try:
                found = _time.decode(message)
            except msgspec.DecodeError:
                continue  # ingest refuses it
            at_ms = parse_time(found.timestamp if found.timestamp is not None else found.original_timestamp)
            if at_ms is None:
                raise FileRefused(f"line {line}: --clock event needs a time in every line; nothing was sent")
            if at_ms < last_ms:
                raise FileRefused(
                    f"line {line} is {(last_ms - at_ms) / 1000:,.0f} s earlier than line {last_line}: --clock"
                    " event needs the lines in the order of their times; sort the file. Nothing was sent"
                )
            last_ms, last_line = at_ms, line
