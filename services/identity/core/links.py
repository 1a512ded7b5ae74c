"""What one touchpoint asks of the graph: which identifiers count, in which order, under which message id."""

import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from hashlib import blake2b

import msgspec

from services.identity.core.policy import Policy
from services.identity.core.unlinks import UnlinkError, unlinked

ZERO_MESSAGE = bytes(16)
PUBLIC_KEY_FLAG = 2
# rel, kind, flags, log_ms, message, count: the head of an event in resolve.lua
_head = struct.Struct(">IBBQ16sB")


class Request(IntEnum):
    """What a touchpoint asks for; the values are the bytes resolve.lua reads."""

    EVENT = ord("e")
    UNLINK = ord("u")
    ERASE = ord("x")
    LINK = ord("l")
    REFUSE = ord("r")
    POISON = ord("p")


_REQUESTS = {"unlink": Request.UNLINK, "erase": Request.ERASE, "link": Request.LINK, "refuse": Request.REFUSE}
# Requests about two identifiers, no more and no less.
_OF_TWO = frozenset({Request.LINK, Request.REFUSE})
MAX_IDENTIFIERS = 32


class UnusableError(ValueError):
    """The touchpoint has nothing the graph could work on; the text says why."""


class Asked(msgspec.Struct, gc=False):
    """One touchpoint's request. identifiers: 17 bytes each (kind code, digest), primary first."""

    request: Request
    flags: int
    message: bytes
    identifiers: Sequence[bytes]

    def pack(self, rel: int, log_ms: int) -> bytes:
        """The event as resolve.lua reads it."""
        ids = self.identifiers
        return _head.pack(rel, self.request, self.flags & 255, log_ms, self.message, len(ids)) + b"".join(ids)


def message_of(source: str, event_id: str) -> bytes:
    """What a message id is remembered as."""
    return blake2b(f"{source}\0{event_id}".encode(), digest_size=16).digest()


POISON = Asked(Request.POISON, 0, ZERO_MESSAGE, ())


def ask(
    touchpoint_type: str, source: str, event_id: str, identifiers: Sequence[str], flags: int, policy: Policy,
    encode: Callable[[str], bytes], properties: bytes = b"",
) -> Asked:  # fmt: skip
    """The request of a touchpoint; `encode` turns `kind:value` into 17 bytes. Raises UnusableError.

    Blocked values and unknown kinds are left out; the order (strongest first) stays. Message ids count per source:
    two sources may number their events alike. `properties` are opened for an unlink only.
    """
    if touchpoint_type == "unlink":
        try:
            named = unlinked(identifiers, properties, list(policy.kinds), encode)
        except UnlinkError as error:
            raise UnusableError(f"unlink: {error}") from error
        return Asked(Request.UNLINK, flags, message_of(source, event_id), named)
    usable = []
    for identifier in identifiers[:MAX_IDENTIFIERS]:
        kind, _, value = identifier.partition(":")
        if not policy.is_blocked(kind, value):
            usable.append(encode(identifier))
    if not usable:
        raise UnusableError(
            f"none of its {len(identifiers)} identifiers may identify a customer (blocked or unknown kind)"
        )
    message = message_of(source, event_id)
    request = _REQUESTS.get(touchpoint_type, Request.EVENT)
    once = list(dict.fromkeys(usable)) if len(usable) > 1 else usable
    if request in _OF_TWO and len(once) != 2:
        raise UnusableError(f"{touchpoint_type} needs two identifiers that may identify a customer, got {len(once)}")
    return Asked(request, flags, message, once)
