"""Identifier digests, stable ids and the partition rule: the few computations that several services must agree on."""

from hashlib import blake2b
from zlib import crc32

DIGEST_BYTES = 16


def digest(kind: str, value: str, key: bytes) -> bytes:
    """16-byte keyed BLAKE2b of an identifier; `kind` (≤ 16 bytes) personalises it, so equal values of two kinds differ.

    The key is the deployment's secret: without it the graph cannot be tested for a phone number (RFC 7693 §2.9).
    """
    return blake2b(value.encode(), digest_size=DIGEST_BYTES, key=key, person=kind.encode()).digest()


def node_text(kind: str, node_digest: bytes) -> str:
    """A node (identifier in the graph) as text, e.g. `phone:9f86d081884c7d659a2feaa0c55ad015`."""
    return f"{kind}:{node_digest.hex()}"


def node_of(identifier: str, key: bytes) -> str:
    """`kind:value` → node text. Raises ValueError when there is no kind."""
    kind, _, value = identifier.partition(":")
    if not kind or not value:
        raise ValueError(f"identifier must read kind:value, got {identifier!r}")
    return node_text(kind, digest(kind, value, key))


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: CRC32 modulo partitions, librdkafka's partitioner `consistent`."""
    return crc32(key) % partitions


def stable_id(*parts: str) -> str:
    """32 hex characters from the parts, in order; the same parts give the same id for ever (separator: NUL).

    Raises ValueError for a lone surrogate, which is no character: what comes from JSON was mended by ingest, and Avro
    and rule names hold none.
    """
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def uuid_text(raw: bytes) -> str:
    """16 bytes → canonical 36-character UUID text (twice as fast as uuid.UUID)."""
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
