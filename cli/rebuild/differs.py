"""What a rebuilt Redis does not share with the one that was lost, in words for whoever rebuilt it."""

from collections.abc import Iterator

from cli.rebuild.checks import Log
from cli.rebuild.run import Done


def untold(log: Log, done: list[Done]) -> Iterator[str]:
    """One sentence each; nothing when all is as it was."""
    taken = sum(first for (topic, _), first in log.firsts.items() if topic != "profiles")
    if taken:
        yield (
            f"retention has taken {taken:,} records of Kafka; what they did is from ClickHouse. Not there, and gone:"
            " ids of requests that changed nothing, and erasures of identifiers that nobody knew"
        )
    unsent = sum(getattr(one.found, "unsent", 0) for one in done)
    if unsent:
        yield f"{unsent:,} outputs had not been sent, or are newer than what was: services send them when they start"
    doubtful = sum(getattr(one.found, "doubtful", 0) for one in done)
    if doubtful:
        yield (
            f"{doubtful:,} deliveries were under way and may have been sent: each channel does what it does after a"
            " lost answer, again under the same id or reported as unknown"
        )
    lost = sum(getattr(one.found, "lost_records", 0) for one in done)
    if lost:
        yield f"{lost:,} deliveries had ended without a send and without a word in `deliveries`: notify tells it now"
