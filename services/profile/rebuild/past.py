"""The replay where retention has taken changes: first what was decided before the oldest one left (see older.py)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge

from services.chassis.records import Output, Record
from services.profile.codec import CHANGES
from services.profile.rebuild.lane import Lane
from services.profile.rebuild.older import Older, is_retained
from services.profile.rebuild.replay import Rebuild, Rebuilt


@dataclass(frozen=True, slots=True)
class Past:
    """`older`: what retention has taken; `marks`: see older.retained; `keep` takes the changes that are gone."""

    older: Older
    marks: Mapping[int, set[int]]
    keep: Callable[[Record], object]


class RebuildWithPast(Rebuild):
    """One run over all partitions; its past is to be set first."""

    past: Past

    def run(self) -> Rebuilt:
        """Work off everything. Raises Fatal naming the first difference."""
        self._work_older(self.past.older)
        return super().run()

    def _work_older(self, older: Older) -> None:
        """What was decided before the oldest change there is; who waits is let go in the chunk that lets him."""
        older.records = merge(older.records, *map(self._at_seam, self.lanes), key=lambda record: record.log_ms)
        for chunk in older.chunks():
            if chunk.ticks:
                self._settle(chunk.now_ms)  # time alone changes nothing of a customer who waits
            for lane in self.lanes:
                lane.handler.in_force = self._thresholds(chunk.version)
                records = [r for r in chunk.records.get(lane.partition, ()) if not self._put_aside(lane, r)]
                ticks = [name for name in chunk.ticks.get(lane.partition, []) if not _is_cut(lane, name, chunk.now_ms)]
                if records or ticks:
                    self._old(lane, records, ticks, chunk.now_ms)
            self._settle(chunk.now_ms)

    def _settle(self, now_ms: int) -> None:
        """Let go on who can. Retention cuts every partition elsewhere: what one decided, and what nobody can read any
        more, may hang on what is left of another.
        """
        before = -1
        while before != (before := self.done.changes + self.done.gone):
            for lane in self.lanes:
                self._release(lane, now_ms)
            past = [lane for lane in self.lanes if lane.is_past_seam or self._firsts[CHANGES, lane.partition] == 0]
            self._work_runs(past, now_ms - 1)  # what is left of a decision comes after what retention has taken of it

    def _at_seam(self, lane: Lane) -> Iterator[Record]:
        """Records that are still there and whose changes are not: none that was logged after the oldest change."""
        if self._firsts[CHANGES, lane.partition] == 0:
            return
        lane.ahead = lane.first = self._decided.change(lane)
        until_ms = lane.ahead.changed_at if lane.ahead is not None else 1 << 62
        worked = self._worked.get(lane.partition, 0)
        while lane.log_ms <= until_ms and (lane.ahead is not None or lane.position < worked):
            record = self._input.next(lane)
            if record is None:
                if lane.is_over:
                    break
            elif record.log_ms > until_ms or is_retained(record, self.past.marks):
                self._input.put(lane, record)
            else:
                yield record
        lane.is_past_seam = True

    def _put_aside(self, lane: Lane, record: Record) -> bool:
        """Whether the change that this record brought about is still there: it is worked off with it."""
        name, n = record.key.decode(), int(record.headers["n"])
        is_behind = min(lane.pending.get(name, {n: record})) < n
        if not is_behind and not is_retained(record, self.past.marks):
            return False
        lane.pending.setdefault(name, {})[n] = record
        return True

    def _old(self, lane: Lane, records: list[Record], ticks: list[str], now_ms: int) -> None:
        for output in self._apply(lane, records, ticks, now_ms, is_exact=bool(ticks)):
            if output.topic == CHANGES:
                self._count_gone(lane, output, now_ms)

    def _count_gone(self, lane: Lane, output: Output, now_ms: int) -> None:
        self.done.gone += 1
        lane.gone += 1
        self.past.keep(Record(CHANGES, lane.partition, -1, output.key, output.value, dict(output.headers), now_ms))

    def _left(self, lane: Lane, made: list[Output]) -> list[Output]:
        """One event, or one look, of an import's history may bring about several changes of a customer in a row, of
        which retention may have taken the first.
        """
        first = lane.run[0]
        gone = made[: len(made) - len(lane.run)] if first is lane.first and len(made) > len(lane.run) else []
        if any(output.key != first.customer_id.encode() for output in gone):
            return made  # the replay says what differs
        for output in gone:
            self._count_gone(lane, output, first.changed_at)
        return made[len(gone) :]

    def _release(self, lane: Lane, now_ms: int) -> None:
        """Let those go on of whom retention has left no change, and whose hand-over is there."""
        if any(key in self._given for key in lane.claim.waits.values()):
            self._old(lane, [], [], now_ms)


def _is_cut(lane: Lane, name: str, now_ms: int) -> bool:
    """Whether more of what this look at a customer brought about is still there: it is done with that."""
    first = lane.first
    return first is not None and (first.kind, first.customer_id, first.changed_at) == ("tick", name, now_ms)
