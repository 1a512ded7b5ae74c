"""What sending a dead letter again would do, decided from who else reads its topic and who numbers it.

Three ways are safe. Into a topic whose only reader is the service that gave up: nobody works on it twice. To notify
with the sequence number it had: archive, the other reader of triggers, drops what it has seen by that number, notify
goes by delivery ids. And an event of a customer's log as a new touchpoint: its own number there was passed over for
good. Everything else would be worked on twice by somebody who already has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

TOUCHPOINTS, RESOLVED = "touchpoints", "touchpoints.resolved"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. failed_at in ms UTC; `id` is of the letter, not of what is in it."""

    id: str
    service: str
    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Mapping[str, str]
    error: str
    code_version: str
    failed_at: int


@dataclass(frozen=True, slots=True)
class Back:
    """The original bytes under the original key into the partition they came from."""

    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Anew:
    """As a new touchpoint: the record to write, and its key (node text)."""

    touchpoint: Mapping[str, Any]
    key: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not sent, and why."""

    why: str


def plan(letter: Letter, readers: Sequence[str], touchpoint: Mapping[str, Any] | None) -> Back | Anew | Refused:
    """How a letter can be sent again. readers: of its topic; touchpoint: its value, where it can be read as one."""
    if tuple(readers) == (letter.service,):
        return Back()
    if letter.service == "notify" and "seq" in letter.headers:
        return Back(tuple((name, text.encode()) for name, text in letter.headers.items()))
    if letter.service == "profile" and letter.topic == RESOLVED:
        return _anew(letter, touchpoint)
    others = ", ".join(reader for reader in readers if reader != letter.service) or "nobody known"
    if letter.service == "archive":
        return Refused(
            f"only ClickHouse lacks it; in {letter.topic} {others} would work on it a second time. Mend the table or"
            " the program; the row can be inserted by hand from `touchstream dead --json`"
        )
    return Refused(
        f"{others} already worked on it, and {letter.topic} is numbered: {letter.service} has passed over this number,"
        " and would drop a copy with it and doubt one without"
    )


def _anew(letter: Letter, touchpoint: Mapping[str, Any] | None) -> Anew | Refused:
    kind = letter.headers.get("kind", "")
    if kind != "event":
        what = f"a `{kind}` of a customer's log" if kind else "not written by identity (no header `kind`)"
        return Refused(
            f"{what}: what comes after its number is already concluded, and no new record can take its place."
            " To correct who is whom, use `touchstream identity unlink` or send an identify"
        )
    if touchpoint is None:
        return Refused("its bytes cannot be read as a touchpoint; the source has to send the event again")
    node, place = letter.headers.get("node", ""), letter.headers.get("src", "")
    if not node or not place:
        return Refused("it has no headers `node` and `src`: identity did not write it")
    # identity remembers the former id, and would drop the event as a duplicate. The new one is the same for every copy.
    event_id = f"{touchpoint['event_id']}~{place}"
    context = msgspec.json.decode(touchpoint["context"] or b"{}", type=dict[str, msgspec.Raw])
    marked = {**context, "resent": {"event_id": touchpoint["event_id"], "place": place}}
    return Anew({**touchpoint, "event_id": event_id, "context": msgspec.json.encode(marked)}, node.encode())
