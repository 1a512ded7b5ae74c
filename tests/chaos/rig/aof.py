"""Valkey's append-only file as bytes: which file grows, where its commands and transactions begin and end."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Command:
    """One complete command: its name in capitals, its first byte and the one behind its last."""

    name: bytes
    begin: int
    end: int


def growing_file(data_folder: Path) -> Path:
    """The file of the multi-part append-only file that is written to: the manifest's last of type i."""
    folder = data_folder / "appendonlydir"
    names = []
    for line in (folder / "appendonly.aof.manifest").read_text().splitlines():
        words = line.split()
        fields = dict(zip(words[::2], words[1::2], strict=True))
        if fields["type"] == "i":
            names.append(fields["file"])
    return folder / names[-1]


def read_commands(data: bytes) -> list[Command]:
    """The complete commands at the beginning of data; what follows the last of them is cut off."""
    found: list[Command] = []
    at = 0
    while (end := _end_of(data, at)) is not None:
        name_at = data.index(b"\r\n", data.index(b"\r\n", at) + 2) + 2
        name = data[name_at : data.index(b"\r\n", name_at)].upper()
        found.append(Command(name, at, end))
        at = end
    return found


def transactions(commands: list[Command]) -> list[tuple[int, int]]:
    """(first byte, the one behind the last) of every complete MULTI … EXEC, which is how a script's effects stand."""
    found, begin = [], -1
    for command in commands:
        if command.name == b"MULTI":
            begin = command.begin
        elif command.name == b"EXEC":
            found.append((begin, command.end))
    return found


def _end_of(data: bytes, at: int) -> int | None:
    """Behind the command at `at`; None when it is not complete. Raises ValueError where no command begins."""
    count, at = _number(data, at, b"*")
    for _ in range(count):
        size, at = _number(data, at, b"$")
        at += size + 2
    return at if count and at <= len(data) else None


def _number(data: bytes, at: int, kind: bytes) -> tuple[int, int]:
    line_end = data.find(b"\r\n", at)
    if at >= len(data) or line_end < 0:
        return 0, len(data) + 1  # cut off: the place behind the data ends the command there
    if data[at : at + 1] != kind:
        raise ValueError(f"byte {at} of an append-only file is {data[at : at + 20]!r}, expected {kind!r}")
    return int(data[at + 1 : line_end]), line_end + 2
