"""How the operator's commands reach ingest."""

from ipaddress import ip_address

import httpx


def uses_proxies(url: str) -> bool:
    """Whether HTTP_PROXY and its like apply (httpx' trust_env): not to this machine, which no proxy can reach.

    A proxy would be handed the write key and the events instead.
    """
    host = httpx.URL(url).host.lower().rstrip(".")
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")
