"""What a process publishes to its group, the next one reads: by it, a Redis that comes back older is refused."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.chassis.kafka.reader import Place, Reader
from services.chassis.marks import Mark
from services.chassis.testing.waiting import wait_for
from tests.backends import CHOSEN

HERE, THERE = ("touchpoints", 0), ("touchpoints", 1)


@contextmanager
def member(bootstrap: str) -> Iterator[Reader]:
    """A member of identity's group that has been given its partitions."""
    reader, assigned = Reader(bootstrap, "touchstream-identity", 6_000, "identity", 45_000), list[Place]()

    def on_assign(places: list[Place]) -> None:
        reader.start(dict.fromkeys(places, 0))
        assigned.extend(places)

    reader.subscribe(["touchpoints"], on_assign, lambda places: None)
    wait_for(lambda: reader.read(1, 0.1) or assigned, "the group assigns", 60)
    try:
        yield reader
    finally:
        reader.close()


def test_the_mark_of_a_batch_outlives_its_process(kafka: str) -> None:
    with member(kafka) as first:
        assert first.committed([HERE, THERE]) == {}
        assert first.publish({HERE: Mark(6, "3.40")}) == ""
        assert first.publish({HERE: Mark(7, "3.41", 6)}) == ""
    with member(kafka) as second:
        # Tansu 0.6 forgets what a commit says besides the offset: there, positions alone are held against Redis.
        assert second.committed([HERE, THERE]) == {HERE: Mark(7, "3.41", 6) if CHOSEN == "apache" else Mark(7)}
