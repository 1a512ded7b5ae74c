"""What ingest's decisions take and give: how a message arrived, and the touchpoint or the refusal that it becomes."""

from dataclasses import dataclass

import msgspec

from services.ingest.core.problems import Problem
from services.ingest.core.source import Source

FLAG_IMPORT = 1
FLAG_PUBLIC = 2
FLAG_CLAMPED = 4
FLAG_EVENT_CLOCK = 32
FLAG_PHONE_VERIFIED = 8
FLAG_EMAIL_VERIFIED = 16
MAX_NAME_CHARS = 200
MAX_MESSAGE_ID_CHARS = 128
NAMES = {
    "identify": "Identified",
    "page": "Page Viewed",
    "screen": "Screen Viewed",
    "group": "Group Joined",
    "alias": "Aliased",
    "unlink": "Unlink Requested",
    "erase": "Erase Requested",
    "link": "Link Requested",
    "refuse": "Link Refused",
    "release": "Release Requested",
}


class Touchpoint(msgspec.Struct, frozen=True, gc=False):
    """The record `touchpoint` (schemas/touchpoint/v1.avsc), field for field."""

    event_id: str
    source: str
    type: str
    name: str
    identifiers: list[str]
    occurred_at: int
    received_at: int
    order_id: str
    amount_minor: int
    currency: str
    properties: bytes
    traits: bytes
    context: bytes
    originals: bytes
    flags: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a message came: what all events of one request share. `type` is the endpoint's, empty for a batch.

    has_clock: an import whose times are the customers' clock.
    """

    source: Source
    received_at: int
    type: str = ""
    is_import: bool = False
    sent_at: object = None
    context: object = None
    has_clock: bool = False


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A touchpoint, and what was left out or changed on the way."""

    touchpoint: Touchpoint
    remarks: list[Problem]


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Everything that is wrong, the refusing problems first; the event id where it can be read."""

    problems: list[Problem]
    event_id: str = ""
