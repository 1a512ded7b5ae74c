"""touchpoints.resolved: the records behind the changes, put in their places as far as they have been read."""

from collections.abc import Mapping

from services.chassis.errors import Fatal
from services.chassis.kafka.reader import Place
from services.chassis.kafka.streams import Streams
from services.chassis.records import Record
from services.chassis.redis.claim import Verdict, accept, number_of
from services.profile.handler import is_of_identity
from services.profile.rebuild.lane import Change, Lane

TOPIC = "touchpoints.resolved"
# Kind of a change → kind of the record behind it.
KINDS = {"event": b"event", "gave": b"give", "took": b"take", "erased": b"erase"}


class Input:
    """Every partition from its oldest record on (`firsts`); what was read and not yet worked off lies in its lane."""

    def __init__(self, streams: Streams, firsts: Mapping[Place, int]) -> None:
        self._streams, self._firsts = streams, firsts

    def behind(self, lane: Lane, change: Change) -> list[Record]:
        """The record behind a change, after those of its customer that come before it and changed nothing."""
        pending = lane.pending.setdefault(change.customer_id, {})
        while (n := _match(pending, change)) is None:
            if not self.read(lane):
                raise Fatal(
                    f"{TOPIC} partition {lane.partition} ends before the record behind {change.kind} {change.cause} of"
                    f" {change.customer_id}"
                )
        found = [pending.pop(number) for number in sorted(pending) if number <= n]
        if not pending:
            del lane.pending[change.customer_id]
        return found

    def read(self, lane: Lane) -> bool:
        """Put one more record of the input in its place; False at its end."""
        record = self.next(lane)
        if record is not None:
            self.put(lane, record)
        return not lane.is_over

    def next(self, lane: Lane) -> Record | None:
        """The next record of the input that is identity's and new; None at the end, and for any other."""
        record = self._streams.next((TOPIC, lane.partition))
        if record is None:
            lane.is_over = True
            return None
        lane.position, lane.log_ms = record.offset + 1, record.log_ms
        found = number_of(record)
        if found is not None and found[0] not in lane.seen and self._firsts[TOPIC, lane.partition] > 0:
            lane.seen[found[0]] = found[1] - 1  # those before it are gone
        if accept(lane.seen, record) is not Verdict.TAKE:
            return None
        record.poison = lane.known.poison.get(record.offset, "")
        if not is_of_identity(record):
            lane.strays.append(record)
            return None
        return record

    def put(self, lane: Lane, record: Record) -> None:
        """Put a record in its place."""
        lane.pending.setdefault(record.key.decode(), {}).setdefault(int(record.headers["n"]), record)


def _match(pending: Mapping[int, Record], change: Change) -> int | None:
    """The number of the record behind a change."""
    kind, cause = KINDS[change.kind], change.cause.encode()
    for n in sorted(pending):
        headers = pending[n].headers
        place = headers["src"]
        if headers["kind"] == kind and (cause == place or cause.startswith(place + b".")):
            return n
    return None
