"""What is wrong with a link right now, and what that does to each piece of its traffic. Lives in the proxies' loop."""

import asyncio
from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True)
class Counters:
    """What happened on a link since the proxy was opened."""

    connections: int = 0
    refused: int = 0  # the target did not listen
    resets: int = 0  # connections ended by the proxy
    answers: int = 0
    answers_dropped: int = 0
    requests_torn: int = 0
    delayed: int = 0  # pieces of traffic
    held: int = 0  # pieces of traffic and new connections that had to wait for heal() or release
    bytes_up: int = 0
    bytes_down: int = 0


@dataclass(slots=True)
class Faults:
    """What is wrong with the link right now."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    random: Random = field(default_factory=Random)
    is_cut: bool = False
    tear_after_bytes: int = -1  # upstream; -1: not at all
    drop_answer: int = 0  # the how many-th answer from now; 0: none
    drop_kind: int | None = None


class Trouble:
    """The faults of one link, applied to the traffic of all its connections (see wire.Link)."""

    def __init__(self) -> None:
        self.faults, self.counters = Faults(), Counters()
        self.open = asyncio.Event()  # clear while half open
        self.open.set()
        self.answering = asyncio.Event()  # clear while answers are held
        self.answering.set()
        self.asking = asyncio.Event()  # clear while requests that contain `held_request` are held
        self.asking.set()
        self.held_request = b""

    async def passage(self, is_up: bool, chunk: bytes = b"") -> None:
        """Returns when the link lets a piece of traffic through that way."""
        gates = [self.open]
        if not is_up:
            gates.append(self.answering)
        elif not self.asking.is_set() and self.held_request in chunk:
            gates.append(self.asking)
        if all(gate.is_set() for gate in gates):
            return
        self.counters.held += 1
        while not all(gate.is_set() for gate in gates):
            for gate in gates:
                await gate.wait()

    def delay_s(self) -> float:
        """By how much the next piece is late."""
        faults = self.faults
        if not faults.delay_s and not faults.jitter_s:
            return 0.0
        self.counters.delayed += 1
        return faults.delay_s + faults.random.uniform(0.0, faults.jitter_s)

    def pass_up(self, chunk: bytes) -> tuple[bytes, bool]:
        """How much of a piece reaches the target, and whether the wire is torn right behind it."""
        left = self.faults.tear_after_bytes
        if left < 0 or len(chunk) < left:
            self.faults.tear_after_bytes = left if left < 0 else left - len(chunk)
            self.counters.bytes_up += len(chunk)
            return chunk, False
        self.faults.tear_after_bytes = -1
        self.counters.requests_torn += 1
        self.counters.resets += 1
        self.counters.bytes_up += left
        return chunk[:left], True

    def pass_down(self, chunk: bytes, begun: list[tuple[int, int]]) -> tuple[bytes, bool]:
        """How much of a piece reaches the client, and whether the rest, an answer, is lost with the wire."""
        faults = self.faults
        for place, kind in begun:
            self.counters.answers += 1
            if not faults.drop_answer or (faults.drop_kind is not None and kind != faults.drop_kind):
                continue
            faults.drop_answer -= 1
            if not faults.drop_answer:
                self.counters.answers_dropped += 1
                self.counters.resets += 1
                self.counters.bytes_down += place
                return chunk[:place], True
        self.counters.bytes_down += len(chunk)
        return chunk, False
