"""What the graph keeps under an identifier: whose it is, and the node it has now (see the keys in resolve.lua)."""

from typing import NamedTuple

ID_BYTES, CUSTOMER_BYTES = 17, 16
_TOMBSTONE = b"-"


class Home(NamedTuple):
    """customer: 16 bytes, empty for a tombstone. node: the identifier's own one when it is another now, else empty."""

    customer: bytes
    node: bytes = b""


def parse_home(raw: bytes) -> Home:
    """The value of `<tag>:i:<identifier>`."""
    if raw == _TOMBSTONE:
        return Home(b"")
    if len(raw) == len(_TOMBSTONE) + 1 + ID_BYTES:
        return Home(b"", raw[-ID_BYTES:])
    return Home(raw[:CUSTOMER_BYTES], raw[-ID_BYTES:] if len(raw) > CUSTOMER_BYTES + 2 else b"")
