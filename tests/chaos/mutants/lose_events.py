"""ingest: acknowledges everything, and of some requests does not hand over the last event."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from services.ingest.adapters import Outgoing
from tests.chaos.mutants.launch import launch, replace

# One could be sent again by its sender, who resends some requests after their 200.
LOST = 5


def losing(publish: Callable[..., Any]) -> Callable[..., Any]:
    """As it was, without the last of several."""
    numbers = itertools.count()

    def lossy(self: object, messages: Sequence[Outgoing], settled: Callable[[], None]) -> object:
        if len(messages) > 1 and next(numbers) < LOST:
            messages = messages[:-1]
        return publish(self, messages, settled)

    return lossy


if __name__ == "__main__":
    replace("services.ingest.adapters", "KafkaPublisher.publish", losing)
    launch("services.ingest")
