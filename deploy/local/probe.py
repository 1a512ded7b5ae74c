"""A plain GET for readiness and metrics: asked many times, by processes whose start everybody waits for.

Not httpx: loading it takes 0.3 s, and a call without a client of its own sets up TLS each time.
"""

from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit


def get(url: str, timeout_s: float = 1.0) -> str:
    """The body of an http URL that answers 200. Raises OSError for everything else."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        body = answer.read()
    except HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise OSError(f"{url} answers {answer.status}")
    return body.decode(errors="replace")


def answers(url: str) -> bool:
    """Whether the URL answers 200 within a second."""
    try:
        get(url)
    except OSError:
        return False
    return True
