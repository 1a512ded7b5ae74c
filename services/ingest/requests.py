"""A request as the handler sees it, without the web framework: head, and a body that arrives in pieces."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network

from services.ingest.endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class Call:
    """One POST. `length` is the announced size (None: not announced), `query_key` the ?writeKey= of a beacon."""

    endpoint: Endpoint
    chunks: AsyncIterator[bytes]
    authorization: str = ""
    query_key: str | None = None
    length: int | None = None
    content_type: str = "application/json"
    remote: str = ""


class BrokenOffError(Exception):
    """The sender went away before the body was complete."""


# A sender refused once is refused again, and taking its address apart costs as much as deciding its event.
@lru_cache(maxsize=1_024)
def mask_address(address: str) -> str:
    """An IP address without its host part (IPv4 /24, IPv6 /48): enough to find a sender, too little for a person."""
    try:
        prefix = 24 if ip_address(address).version == 4 else 48
        return str(ip_network(f"{address}/{prefix}", strict=False).network_address)
    except ValueError:
        return ""
