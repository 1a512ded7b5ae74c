"""Records as they are written: Avro value, key and partition by the key rule of schemas/topics.toml."""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from services.chassis.avro import Codec
from services.chassis.ids import node_of, partition_of, stable_id, uuid_text
from services.ingest.adapters import Outgoing
from services.ingest.core.model import Touchpoint
from services.ingest.core.problems import Problem
from services.ingest.requests import Call, mask_address

TOUCHPOINTS = "touchpoints"
REJECTED = "touchpoints.rejected"
# A broker takes 1 MB a record by default; the rest is room for the reasons and the record's other fields.
MAX_RAW_BYTES = 900_000
MAX_REASONS = 50
# Digests of the most recent primary identifiers: who is active sends several events. About 20 MB; a miss costs 2 µs.
PLACES_KEPT = 65_536
MAX_CONTENT_TYPE_CHARS = 100
_SAMPLE = Touchpoint("", "", "", "", [], 0, 0, "", 0, "", b"", b"", b"", b"", 0)
_SAMPLE_REST: dict[str, object] = {"received_at": 0, "reasons": [], "raw": b""}


class Encoder:
    """Turns decisions into records. `partitions` is the deployment's fixed number."""

    def __init__(self, touchpoints: Codec, rejected: Codec, identifier_key: bytes, partitions: int) -> None:
        self._touchpoints = touchpoints
        self._rejected = rejected
        self._partitions = partitions

        def place(identifier: str) -> tuple[bytes, int]:
            key = node_of(identifier, identifier_key).encode()
            return key, partition_of(key, partitions)

        self._place = lru_cache(maxsize=PLACES_KEPT)(place)

    def warm_up(self) -> None:
        """Learn the schema ids (blocks for a registry's answer; raises Retriable or Fatal)."""
        self._touchpoints.encode(msgspec.structs.asdict(_SAMPLE))
        self._rejected.encode(dict.fromkeys(("rejected_id", "source", "endpoint"), "") | _SAMPLE_REST)

    def touchpoint(self, touchpoint: Touchpoint) -> Outgoing:
        """A touchpoint, keyed by the node of its primary identifier: what concerns one identifier stays in order."""
        key, partition = self._place(touchpoint.identifiers[0])
        return Outgoing(TOUCHPOINTS, partition, key, self._touchpoints.encode(msgspec.structs.asdict(touchpoint)))

    def rejected(self, call: Call, source: str, received_at: int, problems: Sequence[Problem], raw: bytes) -> Outgoing:
        """A refused event with its bytes and every reason, keyed by its source."""
        key = source.encode()
        record = {
            "rejected_id": stable_id(source, call.endpoint.path, raw.decode("latin-1"), str(received_at)),
            "source": source,
            "endpoint": call.endpoint.path,
            "received_at": received_at,
            "reasons": [problem.text() for problem in problems[:MAX_REASONS]],
            "raw": raw,
            "content_type": call.content_type[:MAX_CONTENT_TYPE_CHARS],
            "remote": mask_address(call.remote),
        }
        return Outgoing(REJECTED, partition_of(key, self._partitions), key, self._rejected.encode(record))


def whole_body(problems: Sequence[Problem], raw: bytes) -> tuple[list[Problem], bytes]:
    """What is kept of refused bytes (an event, or a body as a whole); the reasons say so when it is not all of them."""
    if len(raw) <= MAX_RAW_BYTES:
        return list(problems), raw
    note = Problem(problems[0].code, "raw", f"only the first {MAX_RAW_BYTES} bytes are kept")
    return [*problems[: MAX_REASONS - 1], note], raw[:MAX_RAW_BYTES]


def id_maker(now_ms: int) -> Callable[[], str]:
    """Gives event ids for messages without one: UUIDs of version 7 (RFC 9562), random within the millisecond."""
    stamp = now_ms.to_bytes(6, "big")

    def new_id() -> str:
        tail = bytearray(os.urandom(10))
        tail[0] = 0x70 | (tail[0] & 0x0F)
        tail[2] = 0x80 | (tail[2] & 0x3F)
        return uuid_text(stamp + tail)

    return new_id
