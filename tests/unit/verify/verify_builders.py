"""Cuts and records for the tests of verify; only what a test names differs from the plainest."""

from typing import Any

from cli.verify.cut import Cut
from services.chassis.records import Record
from services.chassis.redis.claim import Channels
from services.chassis.redis.inspect import Standing
from services.chassis.redis.slots import Slot

CUSTOMER = "00000000-0000-5000-8000-00000000000a"


def record(offset: int, topic: str = "touchpoints.resolved", partition: int = 0, **headers: Any) -> Record:
    """A record of customer CUSTOMER; headers as text or numbers."""
    known = {name: str(value).encode() for name, value in headers.items()}
    return Record(topic, partition, offset, CUSTOMER.encode(), b"", known, 1_000 + offset)


def standing(
    service: str, topic: str, position: int, partition: int = 0, generation: int = 1,
    base: dict[str, int] | None = None, waits: dict[str, str] | None = None, outbox: int = 0,
) -> Standing:  # fmt: skip
    """A ledger at a position."""
    slot, entry = Slot(service, partition, service == "identity"), b"entry" if outbox else b""
    return Standing(slot, topic, generation, position, Channels(base=base or {}), outbox, entry, waits or {})


def cut(
    *standings: Standing, ends: dict[tuple[str, int], int] | None = None,
    firsts: dict[tuple[str, int], int] | None = None, graph_changes: int = 0, notified: dict[int, int] | None = None,
    relayed: dict[int, int] | None = None, stuck: tuple[Standing, ...] = (),
) -> Cut:  # fmt: skip
    """A cut; by default every log has its beginning."""
    return Cut(standings, graph_changes, firsts or {}, ends or {}, notified or {}, relayed or {}, stuck)
