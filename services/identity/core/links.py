"""What one touchpoint asks of the graph: which identifiers count, in which order, under which message id."""

import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter

import msgspec

from services.identity.core.policy import ANY_VERIFIED, VERIFIED_FLAGS, Policy
from services.identity.core.unlinks import UnlinkError, customer_of, unlinked

ZERO_MESSAGE = bytes(16)
PUBLIC_KEY_FLAG = 2
# rel, kind, flags, verified, log_ms, message, count: the head of an event in resolve.lua
_head = struct.Struct(">IBBIQ16sB")
# The one `identifier` that is a customer, in a request to release it; the graph's kind code 0.
CUSTOMER = "customer:"


class Request(IntEnum):
    """What a touchpoint asks for; the values are the bytes resolve.lua reads."""

    EVENT = ord("e")
    UNLINK = ord("u")
    ERASE = ord("x")
    LINK = ord("l")
    REFUSE = ord("r")
    RELEASE = ord("q")
    POISON = ord("p")


_REQUESTS = {
    "unlink": Request.UNLINK, "erase": Request.ERASE, "link": Request.LINK, "refuse": Request.REFUSE,
    "release": Request.RELEASE,
}  # fmt: skip
_OF_A_CUSTOMER = frozenset({Request.UNLINK, Request.RELEASE})
# Requests about two identifiers, no more and no less.
_OF_TWO = frozenset({Request.LINK, Request.REFUSE})
MAX_IDENTIFIERS = 32
# Identifiers whose judgement is kept: who is active comes again. About 60 MB; a miss costs 2 µs.
JUDGED_KEPT = 200_000
_RANK = itemgetter(0)


class UnusableError(ValueError):
    """The touchpoint has nothing the graph could work on; the text says why, without any value of it: it is logged."""


class Asked(msgspec.Struct, gc=False):
    """One touchpoint's request. identifiers: 17 bytes each (kind code, digest), primary first.

    verified: bit i is set when the i-th of them is the person's own, says a source that is believed in this.
    """

    request: Request
    flags: int
    message: bytes
    identifiers: Sequence[bytes]
    verified: int = 0

    def pack(self, rel: int, log_ms: int) -> bytes:
        """The event as resolve.lua reads it."""
        ids = self.identifiers
        return _head.pack(
            rel, self.request, self.flags & 255, self.verified, log_ms, self.message, len(ids)
        ) + b"".join(ids)


def message_of(source: str, event_id: str) -> bytes:
    """What a message id is remembered as."""
    return blake2b(f"{source}\0{event_id}".encode(), digest_size=16).digest()


POISON = Asked(Request.POISON, 0, ZERO_MESSAGE, ())


def ask(
    touchpoint_type: str, source: str, event_id: str, identifiers: Sequence[str], flags: int, policy: Policy,
    encode: Callable[[str], bytes], properties: bytes = b"",
) -> Asked:  # fmt: skip
    """The request of a touchpoint; `encode` turns `kind:value` into 17 bytes. Raises UnusableError.

    Blocked values, unknown kinds and what is a mere attribute at this source are left out; of an event the strongest
    kind comes first. Message ids count per source: two sources may number their events alike. `properties` are opened
    for an unlink only.
    """
    request, message = _REQUESTS.get(touchpoint_type, Request.EVENT), message_of(source, event_id)
    if request in _OF_A_CUSTOMER:
        return Asked(request, flags, message, _named(request, identifiers, properties, policy, encode))
    judge, attributes = judge_of(policy, encode), policy.attributes.get(source)
    usable = [found for identifier in identifiers[:MAX_IDENTIFIERS] if (found := judge(identifier)) is not None]
    if attributes:
        usable = [found for found in usable if found[1][0] not in attributes]
    if len(usable) > 1:
        if request is Request.EVENT:
            usable.sort(key=_RANK)
        once = list(dict.fromkeys([found[1] for found in usable]))
    else:
        once = [found[1] for found in usable]
    if not once:
        raise UnusableError(
            f"none of its {len(identifiers)} identifiers may identify a customer (blocked, unknown kind, or an"
            f" attribute of source {source})"
        )
    if request in _OF_TWO and len(once) != 2:
        raise UnusableError(f"{touchpoint_type} needs two identifiers that may identify a customer, got {len(once)}")
    verified = 0
    if flags & ANY_VERIFIED and request is Request.EVENT and source in policy.verified:
        verified = _verified(once, flags, policy, policy.verified[source])
    return Asked(request, flags, message, once, verified)


@lru_cache(maxsize=8)
def judge_of(policy: Policy, encode: Callable[[str], bytes]) -> Callable[[str], tuple[int, bytes] | None]:
    """`kind:value` → (rank of its kind, 17 bytes), None when it may identify nobody; the most recent ones are kept."""
    kinds = policy.kinds

    def judge(identifier: str) -> tuple[int, bytes] | None:
        kind, _, value = identifier.partition(":")
        return None if policy.is_blocked(kind, value) else (kinds[kind].rank, encode(identifier))

    return lru_cache(maxsize=JUDGED_KEPT)(judge)


def _verified(identifiers: Sequence[bytes], flags: int, policy: Policy, believed: frozenset[str]) -> int:
    """Asked.verified. Of two values of one kind nothing says which is meant: neither is."""
    found = 0
    for kind in believed:
        code = policy.kinds[kind].code
        places = [place for place, one in enumerate(identifiers) if one[0] == code]
        if flags & VERIFIED_FLAGS[kind] and len(places) == 1:
            found |= 1 << places[0]
    return found


def _named(
    request: Request, identifiers: Sequence[str], properties: bytes, policy: Policy, encode: Callable[[str], bytes]
) -> list[bytes]:  # fmt: skip
    """What a request names that is about a customer rather than about identifiers. Raises UnusableError."""
    try:
        if request is Request.UNLINK:
            return unlinked(identifiers, properties, list(policy.kinds), encode)
        if len(identifiers) == 1 and identifiers[0].startswith(CUSTOMER):
            return [customer_of(identifiers[0].removeprefix(CUSTOMER))]
    except UnlinkError as error:
        raise UnusableError(f"{request.name.lower()}: {error}") from error
    # Never the identifiers themselves: the text is logged, and stands in the dead letter.
    raise UnusableError(
        f"{request.name.lower()}: expected one customer as {CUSTOMER}<UUID>, got {len(identifiers)} identifiers,"
        f" of them {sum(one.startswith(CUSTOMER) for one in identifiers)} customers"
    )
