"""Bounds on what a sender may have under way: bytes of all requests together, events per second of one key."""

from dataclasses import dataclass


@dataclass(slots=True)
class Budget:
    """Bytes held for requests that are being read, decided or acknowledged. Not thread-safe: one event loop."""

    limit_bytes: int
    used_bytes: int = 0

    def take(self, amount_bytes: int) -> bool:
        """Reserve; False when the budget has no room. An amount above the limit fits only when nothing else is held."""
        if self.used_bytes and self.used_bytes + amount_bytes > self.limit_bytes:
            return False
        self.used_bytes += amount_bytes
        return True

    def give_back(self, amount_bytes: int) -> None:
        """Release what take reserved."""
        self.used_bytes -= amount_bytes


@dataclass(slots=True)
class Bucket:
    """A token bucket over events. A request larger than the burst passes when the bucket is full and leaves a debt."""

    per_s: float
    burst: float
    tokens: float
    at_ms: int

    def take(self, events: int, now_ms: int) -> int:
        """0 when the events may pass, else the ms to wait (then none is taken). A clock set back adds no tokens."""
        self.tokens = min(self.burst, self.tokens + max(0, now_ms - self.at_ms) / 1000 * self.per_s)
        self.at_ms = now_ms
        needed = min(events, self.burst)
        if self.tokens < needed:
            return max(1, int((needed - self.tokens) / self.per_s * 1000) + 1)
        self.tokens -= events
        return 0
