"""Records on their way from one stage of a rebuild to the next, in order, on disk: more of them than memory holds."""

import tempfile
from collections.abc import Iterator

import msgspec

from services.chassis.records import Record

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, int, int, bytes, bytes | None, dict[str, bytes], int]).decode


class Spool:
    """Written once, then read from the start; gone when it is closed."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="touchstream-rebuild-")  # noqa: SIM115 - closed by close()
        self.records = 0

    def append(self, record: Record) -> None:
        """Add a record at the end."""
        frame = _encode(
            (
                record.topic, record.partition, record.offset, record.key, record.value, record.headers, record.log_ms,
            )
        )  # fmt: skip
        self._file.write(len(frame).to_bytes(4, "big") + frame)
        self.records += 1

    def __iter__(self) -> Iterator[Record]:
        self._file.seek(0)
        while head := self._file.read(4):
            yield Record(*_decode(self._file.read(int.from_bytes(head, "big"))))

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()
