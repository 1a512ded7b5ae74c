"""The whole play as numbered batches: the same run number, token, seed and size give the same batches, byte for byte
but for the time of live events. That is what lets an interrupted run go on, and the books be written again."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from cli.demo.acts import HISTORY, SHOP, WEB, Planned
from cli.demo.faults import faulty
from cli.demo.people import Person
from cli.demo.shop import stories

# Segment's SDKs flush at 100 events; an import takes whole files.
LIVE_BATCH, IMPORT_BATCH = 100, 500
FAULT_SHARE = 0.008
REPEAT_SHARE = 0.04
# A client that got no answer sends again this many batches later at most.
REPEAT_WITHIN = 3
KEYS = {WEB: "local-browser", SHOP: "local", HISTORY: "local"}
ENDPOINTS = {WEB: "/v1/batch", SHOP: "/v1/batch", HISTORY: "/v1/import"}


@dataclass(frozen=True, slots=True)
class Batch:
    """One request. `is_repeat`: a client sends a batch a second time because it missed the first answer."""

    channel: str
    events: tuple[Planned, ...]
    is_repeat: bool = False

    def body(self, now_ms: int, base_ms: int) -> bytes:
        """The request's body: JSON lines for the import, else a batch. Live events happened just before `now_ms`."""
        last = len(self.events) - 1
        lines = [e.raw or _message(e, now_ms - (last - n), base_ms) for n, e in enumerate(self.events)]
        return b"\n".join(lines) if self.channel == HISTORY else b'{"batch":[' + b",".join(lines) + b"]}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The batches in the order of sending, the history first, and the people in them."""

    batches: tuple[Batch, ...]
    people: tuple[Person, ...]
    prefix: str

    @property
    def events(self) -> int:
        """Events to send, repeats included."""
        return sum(len(batch.events) for batch in self.batches)


def make_plan(run: int, token: str, seed: int, events: int) -> Plan:
    """A play of about `events` different events; takes about half a second for 20,000."""
    prefix = f"demo-{run}-{token}-"
    random = Random(seed)
    people, everything = [], []
    for person, story in stories(run, token, seed, events):
        people.append(person)
        everything += story
    everything += faulty(token, random, max(8, int(events * FAULT_SHARE)))
    everything.sort(key=lambda event: event.at)
    for n, event in enumerate(everything):
        event.message_id = f"{prefix}{n:06d}"
    history = [event for event in everything if event.channel == HISTORY]
    _whole_lines_first(history)
    live = (event for event in everything if event.channel != HISTORY)
    batches = [Batch(HISTORY, part) for part in _parts(history, IMPORT_BATCH)]
    batches += _live_batches(live)
    return Plan(tuple(_with_repeats(batches, random)), tuple(people), prefix)


def _whole_lines_first(history: list[Planned]) -> None:
    """An import is known to be JSON lines by its first two: those of every batch are good ones."""
    for start in range(0, len(history), IMPORT_BATCH):
        part = history[start : start + IMPORT_BATCH]
        part.sort(key=lambda event: bool(event.raw))
        history[start : start + IMPORT_BATCH] = part


def _parts(events: list[Planned], size: int) -> Iterator[tuple[Planned, ...]]:
    for start in range(0, len(events), size):
        yield tuple(events[start : start + size])


def _live_batches(events: Iterable[Planned]) -> Iterator[Batch]:
    """Browsers and the shop's systems each fill batches of their own."""
    filling: dict[str, list[Planned]] = {WEB: [], SHOP: []}
    for event in events:
        batch = filling[event.channel]
        batch.append(event)
        if len(batch) == LIVE_BATCH:
            yield Batch(event.channel, tuple(batch))
            batch.clear()
    yield from (Batch(channel, tuple(batch)) for channel, batch in filling.items() if batch)


def _with_repeats(batches: list[Batch], random: Random) -> Iterator[Batch]:
    """Some batches come again, whole and with the same message ids, a little later."""
    due: dict[int, list[Batch]] = {}
    for n in random.sample(range(len(batches)), max(1, round(len(batches) * REPEAT_SHARE))):
        repeat = Batch(batches[n].channel, batches[n].events, is_repeat=True)
        due.setdefault(min(n + random.randint(1, REPEAT_WITHIN), len(batches) - 1), []).append(repeat)
    for n, batch in enumerate(batches):
        yield batch
        yield from due.get(n, ())


def _message(event: Planned, live_ms: int, base_ms: int) -> bytes:
    at_ms = base_ms - event.age_ms if event.age_ms else live_ms
    message = {"timestamp": _iso(at_ms)} | event.message | {"messageId": event.message_id}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
