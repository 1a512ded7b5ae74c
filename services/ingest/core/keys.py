"""Write keys: kept as SHA-256 only, valid until a day, each acting for one source."""

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from services.ingest.core.source import Source

MAX_KEY_CHARS = 256


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key gives, and until when (ms UTC; 0: for ever)."""

    source: Source
    expires_at: int = 0


def key_digest(key: str) -> str:
    """The form in which a key stands in the file. Keys are long and random, so an unsalted hash gives nothing away."""
    return sha256(key.encode()).hexdigest()


class Keyring:
    """All write keys of the deployment."""

    def __init__(self, grants: dict[str, Grant]) -> None:
        self._grants = grants

    def source_of(self, key: object, now_ms: int) -> Source | None:
        """The source a key acts for; None when it is unknown or has expired."""
        if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_CHARS:
            return None
        grant = self._grants.get(key_digest(key))
        if grant is None or (grant.expires_at and now_ms >= grant.expires_at):
            return None
        return grant.source

    def sources(self) -> list[Source]:
        """Every source with each of its rights."""
        return [grant.source for grant in self._grants.values()]


def key_of_header(authorization: str) -> str | None:
    """The write key of an Authorization header: Basic with the key as user (the password is ignored), or Bearer.

    None when there is no such header, "" when there is one that cannot be read.
    """
    scheme, _, rest = authorization.strip().partition(" ")
    if not scheme:
        return None
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""
