"""Outgoing HTTP: one configured client, so that no call waits for ever."""

import httpx


def client(timeout_s: float = 10.0, connections: int = 100) -> httpx.AsyncClient:
    """An asynchronous client with a total timeout per phase and no automatic redirects (a redirect may leak a body)."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(timeout=httpx.Timeout(timeout_s), limits=limits, follow_redirects=False)
