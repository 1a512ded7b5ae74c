"""Topics as verify reads them: a partition once, up to the cut's end, as every reader of ours would take it."""

from collections.abc import Callable, Iterator

from cli.verify.cut import Cut
from cli.verify.numbers import Channel
from services.chassis.kafka.offsets import read_on
from services.chassis.records import Record

Advance = Callable[[int], None]
# Between two movements of the progress bar.
STEP = 1_000


class Log:
    """Reads partitions; memory is what the client fetches ahead (16 MB at most)."""

    def __init__(self, bootstrap: str, cut: Cut, advance: Advance) -> None:
        self._bootstrap, self._cut, self._advance = bootstrap, cut, advance
        self.channels: dict[tuple[str, int], Channel] = {}

    def raw(self, topic: str, partition: int) -> Iterator[Record]:
        """Every record below the cut's end, in order."""
        first, end = self._cut.firsts.get((topic, partition), 0), self._cut.ends[topic, partition]
        if first >= end:
            return
        count = 0
        for record in read_on(self._bootstrap, topic, partition, first, end):
            yield record
            count += 1
            if count % STEP == 0:
                self._advance(STEP)
        self._advance(count % STEP)

    def numbered(self, topic: str, partition: int) -> Iterator[Record]:
        """As raw, without what our relay wrote again; its numbers are kept in `channels`."""
        channel = Channel(topic, partition, self._cut.is_whole(topic, partition))
        self.channels[topic, partition] = channel
        return (record for record in self.raw(topic, partition) if channel.takes(record))
