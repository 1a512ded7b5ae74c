"""notify's part of moving to another Kafka (see services.chassis.redis.rebase, which moves the ledgers).

Readers of a new `deliveries` expect the numbers of each partition from 1; so do the triggers of a new topic come.
"""

from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Protocol

from services.notify.adapters.store import TAG


class Client(Protocol):
    """The part of a synchronous Redis client that is used."""

    def register_script(self, script: str) -> Callable[..., Any]: ...


def renumber(client: Client, partitions: int) -> int:
    """Begin the sequence numbers anew; how many finished deliveries wait for the new topic. notify must not run."""
    texts: Sequence[str] = [
        files(__package__).joinpath(name).read_text("utf-8") for name in ("common.lua", "renumber.lua")
    ]
    return int(client.register_script("".join(texts))(keys=[TAG], args=[partitions]))
