"""The file that is replayed: CSV or JSON lines, plain or gzip, one record at a time, with the line it begins in."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import IO, cast

import msgspec

from cli.replay.spec import Csv
from cli.replay.values import Compute, LineError, Row

GZIP_MAGIC = b"\x1f\x8b"
# Enough to tell two files apart, little enough to be read in a moment: both ends of the file and its size.
ENDS_BYTES = 1 << 20
FILE_ID_BYTES = 8
MAX_FIELD_CHARS = 1 << 20
CSV, JSONL = "csv", "jsonl"
_SUFFIXES = {".csv": CSV, ".jsonl": JSONL, ".ndjson": JSONL}
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error)
_json = msgspec.json.Decoder(dict[str, object], float_hook=Decimal)


class FileRefused(Exception):  # noqa: N818
    """The file cannot be read as what it is said to be; the text says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record: the number of its first line (from 1), and its values, or why it has none. Blank: neither."""

    line: int
    row: Row = None
    error: LineError | None = None


def format_of(path: Path, *said: str) -> str:
    """The first format that is said, else by the name of the file. Raises FileRefused."""
    for one in said:
        if one:
            return one
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix
    if suffix not in _SUFFIXES:
        raise FileRefused(f"{path}: the name does not say what it is; give --format csv or --format jsonl")
    return _SUFFIXES[suffix]


def fingerprint(path: Path) -> str:
    """16 hex characters of the file's size and both its ends: the file's id in message ids and journals."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(ENDS_BYTES)
        file.seek(max(0, size - ENDS_BYTES))
        tail = file.read(ENDS_BYTES)
    return blake2b(b"%d\0" % size + head + tail, digest_size=FILE_ID_BYTES).hexdigest()


class _Stream:
    """An opened file: its bytes unpacked, and how far it has been read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._raw = path.open("rb", buffering=0)
        self.size_bytes = path.stat().st_size
        buffered = io.BufferedReader(self._raw)
        is_packed = buffered.peek(2).startswith(GZIP_MAGIC)
        self.bytes: IO[bytes] = cast("IO[bytes]", gzip.GzipFile(fileobj=buffered)) if is_packed else buffered

    def position_bytes(self) -> int:
        """Bytes of the file that have been taken in, of size_bytes; packed ones where it is packed."""
        return self._raw.tell()

    def close(self) -> None:
        self.bytes.close()
        self._raw.close()

    def broken(self, line: int, error: Exception) -> FileRefused:
        return FileRefused(f"{self._path}: gzip is broken after line {line} ({error}); what came before it was read")


class CsvFile(_Stream):
    """A CSV file; a row is the list of its fields. Raises FileRefused when there is no usable header."""

    def __init__(self, path: Path, form: Csv) -> None:
        super().__init__(path)
        csv.field_size_limit(MAX_FIELD_CHARS)
        # What is not in this encoding shows when the message is written; one bad cell must not end the file.
        text = io.TextIOWrapper(self.bytes, form.encoding, errors="surrogateescape", newline="")
        self._reader = csv.reader(text, delimiter=form.delimiter, quotechar=form.quote, strict=True)
        try:
            self.header = form.header or tuple(next(self._reader, ()))
        except (csv.Error, *_BROKEN) as error:
            raise FileRefused(f"{path}: the header cannot be read: {error}") from error
        doubled = sorted({name for name in self.header if self.header.count(name) > 1})
        if not self.header or doubled:
            what = f"column {doubled[0]!r} stands twice" if doubled else "the file is empty"
            raise FileRefused(f"{path}: {what}; name the columns in the mapping under csv.header")

    def column_of(self, path: tuple[str, ...]) -> Compute:
        """See ColumnOf: dots are part of a column's name."""
        name = ".".join(path)
        if name not in self.header:
            near = get_close_matches(name, self.header, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise KeyError(f"one of {', '.join(self.header)}{hint}")
        return itemgetter(self.header.index(name))

    def records(self) -> Iterator[Record]:
        """Every record below the header. Raises FileRefused when the rest cannot be unpacked."""
        reader, width = self._reader, len(self.header)
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield Record(line, error=LineError(f"no CSV ({error})"))
                continue
            except _BROKEN as error:
                raise self.broken(line - 1, error) from error
            if row is None:
                return
            if not row:
                yield Record(line)
            elif len(row) != width:
                yield Record(line, error=LineError(f"{len(row)} fields, expected {width} as in the header"))
            else:
                yield Record(line, row)


class JsonLinesFile(_Stream):
    """One JSON object a line. A row is the object, or the line as it stands where `raw` is set."""

    def __init__(self, path: Path, raw: bool = False) -> None:
        super().__init__(path)
        self._is_raw = raw

    @staticmethod
    def column_of(path: tuple[str, ...]) -> Compute:
        """See ColumnOf: a path into the object; what is not there is nothing."""
        first, rest = path[0], path[1:]
        if not rest:
            return lambda row: row.get(first)

        def follow(row: Row) -> object:
            value: object = row
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
            return value

        return follow

    def records(self) -> Iterator[Record]:
        """Every line. Raises FileRefused when the rest cannot be unpacked."""
        line = 0
        lines = iter(self.bytes)
        while True:
            try:
                raw = next(lines, None)
            except _BROKEN as error:
                raise self.broken(line, error) from error
            if raw is None:
                return
            line += 1
            yield self._record(line, raw.strip())

    def _record(self, line: int, raw: bytes) -> Record:
        if self._is_raw or not raw:
            return Record(line, raw or None)
        try:
            return Record(line, _json.decode(raw))
        except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as error:
            return Record(line, error=LineError("no JSON object", error))
