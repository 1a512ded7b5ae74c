"""Where an answer begins in the bytes that come back over a connection: what the proxy counts and drops.

Two ways to tell. Turns, for one request at a time (Redis, HTTP): the first bytes back after bytes there. Frames, for
Kafka, whose requests are pipelined: the frames of the protocol, answers found again by their correlation id.
"""

import struct
from typing import Protocol

# Kafka's API key of a produce request, whose lost answer matters most.
PRODUCE = 0


class Answers(Protocol):
    """Follows one connection. Kinds: Kafka's API key; 1 or 0 for whether the request contained the wanted bytes."""

    def asked(self, chunk: bytes) -> None:
        """Bytes on their way to the server."""

    def begun(self, chunk: bytes) -> list[tuple[int, int]]:
        """Bytes on their way back: (place in the chunk, kind) of every answer that begins in them."""


class Turns:
    """One request at a time; `wanted` is looked for in the request, also across chunks."""

    def __init__(self, wanted: bytes = b"") -> None:
        self._wanted = wanted
        self._tail = b""
        self._is_asked = self._is_wanted = False

    def asked(self, chunk: bytes) -> None:
        """See Answers."""
        if not self._is_asked:
            self._tail, self._is_wanted = b"", not self._wanted
        self._is_asked = True
        if not self._is_wanted:
            seen = self._tail + chunk
            self._is_wanted = self._wanted in seen
            self._tail = seen[-len(self._wanted) :]

    def begun(self, chunk: bytes) -> list[tuple[int, int]]:
        """See Answers."""
        if not self._is_asked:
            return []
        self._is_asked = False
        return [(0, int(self._is_wanted))]


class _Frames:
    """Cuts a stream of frames (a length, then that many bytes) and names the first bytes of each."""

    def __init__(self, head_bytes: int) -> None:
        self._head_bytes = head_bytes  # of a frame, its length included
        self._head = b""
        self._rest = 0  # bytes of the frame that are still to come

    def feed(self, chunk: bytes) -> list[tuple[int, bytes]]:
        """(where in the chunk it begins, 0 when in an earlier one; its head) of every frame whose head is complete."""
        found, at, begin = [], 0, 0
        while at < len(chunk):
            if self._rest:
                step = min(self._rest, len(chunk) - at)
                self._rest -= step
                at += step
                continue
            if not self._head:
                begin = at
            step = min(self._head_bytes - len(self._head), len(chunk) - at)
            self._head += chunk[at : at + step]
            at += step
            if len(self._head) == self._head_bytes:
                found.append((begin, self._head))
                self._rest = 4 + struct.unpack_from(">i", self._head)[0] - self._head_bytes
                self._head, begin = b"", 0
        return found


class KafkaFrames:
    """Kafka's own framing: a request names its API key and correlation id, an answer begins with the latter."""

    def __init__(self) -> None:
        self._requests, self._responses = _Frames(12), _Frames(8)
        self._kinds: dict[int, int] = {}

    def asked(self, chunk: bytes) -> None:
        """See Answers."""
        for _, head in self._requests.feed(chunk):
            key, _, correlation = struct.unpack_from(">hhi", head, 4)
            self._kinds[correlation] = key

    def begun(self, chunk: bytes) -> list[tuple[int, int]]:
        """See Answers."""
        found = []
        for begin, head in self._responses.feed(chunk):
            (correlation,) = struct.unpack_from(">i", head, 4)
            found.append((begin, self._kinds.pop(correlation, -1)))
        return found
