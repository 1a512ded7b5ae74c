"""Topics that people read: records of a whole topic in the order of their arrival, and how their bytes are shown."""

import base64
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NoReturn, TypeVar

import typer
from rich.console import Console

from services.chassis.errors import Fatal, Poison, Retriable
from services.chassis.kafka.offsets import end_offsets, first_offsets, read_range
from services.chassis.records import Record
from services.chassis.settings import SettingsError

T = TypeVar("T")
# Records read at a time from one partition; a record has up to 2 MB.
CHUNK = 3_000
SHOWN = 20
MIN_ID_CHARS = 6
ID_CHARS = 12
console = Console(highlight=False)
if not console.is_terminal:
    console.width = 160
complaints = Console(stderr=True, highlight=False)


def records_of(bootstrap: str, topics: Iterable[str], newest: int | None = None) -> Iterator[Record]:
    """Every record of the topics, oldest first, up to their present ends; `newest`: of each partition at most so many.

    Memory is bounded by CHUNK per partition. Raises Retriable or Fatal when the broker or the log is not there.
    """
    names = list(topics)
    ends, firsts = end_offsets(bootstrap, names), first_offsets(bootstrap, names)
    partitions = []
    for place, end in sorted(ends.items()):
        first = max(firsts.get(place, 0), 0 if newest is None else end - newest)
        if first < end:
            partitions.append(_partition(bootstrap, *place, first, end))
    return heapq.merge(*partitions, key=lambda record: record.log_ms)


def _partition(bootstrap: str, topic: str, partition: int, first: int, end: int) -> Iterator[Record]:
    while first < end:
        last = min(first + CHUNK, end) - 1
        yield from read_range(bootstrap, topic, partition, first, last)
        first = last + 1


def last_of(items: Iterable[T], most: int | None) -> list[T]:
    """The newest `most`, newest last; all of them without a limit."""
    return list(deque(items, most))


def iso(ms: int) -> str:
    """2025-06-15T14:00:00.000Z."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def in_json(name: str, raw: bytes) -> dict[str, str]:
    """Bytes for JSON: as text under `name`, or where they are no UTF-8 in base64 under `<name>_base64`."""
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(raw).decode()}


def preview(raw: bytes, most: int = 100) -> str:
    """Bytes on one line, cut; what is no text as hex."""
    head = raw[: 4 * most]
    try:
        text = " ".join(head.decode(errors="ignore" if len(raw) > len(head) else "strict").split())
    except UnicodeDecodeError:
        text = head.hex(" ")
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else "·" for sign in text)
    return text if len(text) <= most and len(head) == len(raw) else text[: most - 1] + "…"


@contextmanager
def answering() -> Iterator[None]:
    """What the chassis raises, as a sentence and exit code 1."""
    try:
        yield
    except (SettingsError, Fatal, Retriable, Poison) as error:
        give_up(str(error))


def by_beginning(
    found: Sequence[T], ids: Sequence[str], id_of: Callable[[T], str], what: str, count: Callable[[list[T]], int] = len
) -> list[T]:
    """Those whose ids begin with the given texts, all without any; gives up when a text does not name just one.

    `count` says how many a text names.
    """
    if not ids:
        return list(found)
    chosen = []
    for given in ids:
        fits = [one for one in found if id_of(one).startswith(given)]
        if len(given) < MIN_ID_CHARS or count(fits) != 1:
            give_up(f"--id {given}: {len(fits)} {what} begin like this; give {MIN_ID_CHARS} characters or more of one")
        chosen.append(fits[0])
    return chosen


def give_up(text: str) -> NoReturn:
    """Say why and end with exit code 1."""
    complaints.print(text, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1)
