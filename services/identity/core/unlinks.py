"""What an unlink asks of the graph: of which customer, and whether all links of an identifier or one.

`properties`: `from`, the customer who must have the identifier now (UUID text); `pair`, true: only the link between the
first two identifiers.
"""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec

# In resolve.lua a customer stands among identifiers as one of this kind, which no policy can give away.
CUSTOMER_KIND = b"\0"


class UnlinkError(ValueError):
    """The request cannot be understood; the text says why, without what was given."""


def unlinked(
    identifiers: Sequence[str], properties: bytes, kinds: Sequence[str], encode: Callable[[str], bytes]
) -> list[bytes]:
    """What an unlink names, as resolve.lua reads it: an identifier, the other one of a pair, a customer. 17 bytes each.

    Unknown kinds are left out. A blocked value may be unlinked: that is how what it joined is parted. Raises
    UnlinkError.
    """
    asked = _object(properties)
    is_pair = asked.get("pair") is True
    usable = [name for name in dict.fromkeys(identifiers) if _is_usable(name, kinds)]
    names = usable[: 2 if is_pair else 1]
    if len(names) < 1 + is_pair:
        raise UnlinkError(f"expected {1 + is_pair} identifiers of known kinds, got {len(names)}")
    found = [encode(name) for name in names]
    return [*found, customer_of(str(asked["from"]))] if "from" in asked else found


def customer_of(text: str) -> bytes:
    """A customer id, UUID text, as it stands among identifiers. Raises UnlinkError."""
    try:
        return CUSTOMER_KIND + UUID(text).bytes
    except ValueError:
        # Not the text: it is logged, and may be an identifier.
        raise UnlinkError(f"expected a customer id, UUID text, got {len(text)} characters that are none") from None


def _is_usable(identifier: str, kinds: Sequence[str]) -> bool:
    kind, _, value = identifier.partition(":")
    return kind in kinds and bool(value)


def _object(properties: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(properties or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
