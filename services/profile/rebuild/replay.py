"""The replay: records of every customer through the handler, in the order and at the moments of profile.changes.

profile.changes says when each record was worked off, what time alone brought about, and under which thresholds; the
last snapshot of a customer in `profiles` says when it was looked at last and how often before. What the handler
concludes is compared byte for byte with both; what does not stand there was never sent and stays in the outbox.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.chassis.errors import Fatal
from services.chassis.kafka.reader import Place
from services.chassis.kafka.streams import Streams
from services.chassis.records import Decision, Output, Record
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.rebuild import open_ledger
from services.chassis.redis.slots import Slot
from services.chassis.registry import Registry
from services.profile.codec import CHANGES, PROFILES
from services.profile.core.config import ProfileConfig
from services.profile.core.state import Thresholds
from services.profile.handler import SERVICE
from services.profile.rebuild.decided import MOVED, Decided
from services.profile.rebuild.input import TOPIC, Input
from services.profile.rebuild.known import UNKNOWN, Known
from services.profile.rebuild.lane import Change, Lane, Replaying


@dataclass(slots=True)
class Rebuilt:
    """What was done."""

    changes: int = 0
    gone: int = 0
    snapshots: int = 0
    unsent: int = 0


class Rebuild:
    """One run over all partitions."""

    def __init__(
        self, ledger: Ledger, config: ProfileConfig, partitions: int, registry: Registry, generation: int,
        versions: Mapping[int, Thresholds], known: dict[int, Known], inputs: Streams, changes: Streams,
        firsts: Mapping[Place, int], worked: Mapping[int, int], advance: Callable[[int], object],
        numbers: Callable[[int, int], int] = lambda source, partition: 0,
    ) -> None:  # fmt: skip
        """`versions`: all thresholds there ever were; `worked`: offset before which all is worked off and sent.

        `numbers(source, partition)`: how many records an input partition ever wrote there.
        """
        self._numbers, self._firsts = numbers, firsts
        self._ledger, self._versions, self._worked, self._advance = ledger, versions, worked, advance
        self._input, self._decided = Input(inputs, firsts), Decided(changes, registry)
        self._given: set[str] = set()
        self.done = Rebuilt()
        self.lanes: list[Lane] = []
        for p in range(partitions):
            claim = open_ledger(ledger, Slot(SERVICE, p), TOPIC, firsts[TOPIC, p], generation)
            self.lanes.append(Lane(claim, Replaying(claim, ledger, config, partitions, registry, known[p])))

    def run(self) -> Rebuilt:
        """Work off every change there is. Raises Fatal naming the first difference."""
        self._work_runs(self.lanes, 1 << 62)
        for lane in self.lanes:
            self._close(lane)
        return self.done

    def _stuck(self, lanes: list[Lane]) -> str:
        missing = [(c.customer_id, key) for lane in lanes for c in lane.run if (key := _awaited(lane, c))]
        missing = [one for one in missing if one[1] not in self._given]
        return f"{missing[:3]} took a hand-over that nobody gave"

    def _work_runs(self, lanes: list[Lane], until_ms: int) -> None:
        """Work off the changes of these partitions that were decided until then, by the moment of their decisions."""
        while True:
            found = []
            for lane in lanes:
                lane.run = lane.run or self._decided.next_run(lane)
                if lane.run and lane.run[0].changed_at <= until_ms:
                    found.append(lane)
            found.sort(key=lambda lane: lane.run[0].changed_at)
            ready = next((lane for lane in found if self._is_ready(lane)), None)
            if ready is None:
                if found and until_ms == 1 << 62:
                    raise Fatal(f"profile.changes: {self._stuck(found)}")
                return
            self._release(ready, ready.run[0].changed_at)
            self._replay(ready)
            ready.run = []

    def _is_ready(self, lane: Lane) -> bool:
        """Whether every hand-over has been given that is taken in the next run, or that somebody in it waits for."""
        own = {key for change in lane.run for key in change.gives}
        return {_awaited(lane, change) for change in lane.run} - own - {""} <= self._given

    def _release(self, lane: Lane, now_ms: int) -> None:
        """Nobody goes on whose hand-over was not taken in a change."""

    def _thresholds(self, version: int) -> Thresholds | None:
        if version == 0:
            return None
        if version not in self._versions:
            raise Fatal(f"thresholds version {version} is neither in Redis nor in ClickHouse (table rfm_thresholds)")
        return self._versions[version]

    def _replay(self, lane: Lane) -> None:
        run = lane.run
        if lane.run_version != UNKNOWN:
            lane.handler.in_force = self._thresholds(lane.run_version)
        # At the end of an import one look may bring about several changes.
        ticks = list(dict.fromkeys(change.customer_id for change in run if change.kind == "tick"))
        records: list[Record] = []
        for change in run:
            if change.kind not in ("tick", MOVED):
                records += self._input.behind(lane, change)
        strays, lane.strays = lane.strays, []
        outputs = self._apply(lane, strays + records, ticks, run[0].changed_at)
        made = self._left(lane, [output for output in outputs if output.topic == CHANGES])
        for change, output in zip(run, made, strict=False):
            if output.value != change.value:
                raise Fatal(self._decided.difference(lane, change, output))
        if len(made) != len(run):
            raise Fatal(
                f"{CHANGES} partition {lane.partition}: {len(run)} changes of {run[0].changed_at} from number"
                f" {run[0].number} on, the replay makes {len(made)} of them"
            )
        self.done.changes += len(run)
        self._advance(len(run))

    def _left(self, lane: Lane, made: list[Output]) -> list[Output]:
        """Of the changes that a run has made, those that can still stand in profile.changes."""
        return made

    def _apply(
        self, lane: Lane, records: list[Record], ticks: list[str], now_ms: int, is_exact: bool = True
    ) -> list[Output]:
        """Decide and store; what came out, none of which is sent. `is_exact`: now_ms is when it was decided."""
        decision = lane.handler.decide(records, ticks, now_ms)
        if decision is None:
            return []
        outputs, late = decision.outputs, decision.late_deletes
        decision.outputs, decision.late_deletes = [], []
        self._ledger.apply(lane.claim, decision, {}, lane.claim.position, 0)
        self._given.update(key for key in decision.sets if ":give:" in key)
        if late:
            self._ledger.delete(late)
            self._given.difference_update(late)
        for output in outputs:
            if output.topic == PROFILES:
                self._checked(lane, output, now_ms, is_exact)
        return outputs

    def _checked(self, lane: Lane, output: Output, now_ms: int, is_exact: bool) -> None:
        name = output.key.decode()
        if name in lane.known.ended:
            return
        last = lane.known.last.get(name)
        if last is not None and hash(output.value) == last.mark:
            self.done.snapshots += 1
            lane.looked[name] = 0
        elif is_exact and (last is None or now_ms > last.updated_at):
            lane.looked[name] = now_ms
            lane.latest[name] = output

    def _close(self, lane: Lane) -> None:
        self._look_last(lane)
        while lane.position < self._worked.get(lane.partition, 0) and self._input.read(lane):
            pass
        rest = sorted((r for held in lane.pending.values() for r in held.values()), key=lambda r: r.offset)
        for at in range(0, len(rest), 3_000):
            outputs = self._apply(lane, rest[at : at + 3_000], [], max(lane.log_ms, 1))
            lane.unsent += [output for output in outputs if output.topic == CHANGES]
        self._look_last(lane)
        missing = [name for name in lane.known.last if lane.looked.get(name, -1) < 0]
        if missing:
            raise Fatal(f"{PROFILES} partition {lane.partition}: {len(missing)} snapshots differ, {missing[0]} first")
        claim = lane.claim
        for source in range(len(self.lanes)):
            if str(source) not in lane.seen and self._firsts[TOPIC, lane.partition] > 0:
                number = self._numbers(source, lane.partition)
                lane.seen |= {str(source): number} if number else {}
        claim.base = {**lane.known.base}
        sent = self._decided.last(lane)
        if sent or lane.gone:
            claim.base[f"{CHANGES}/{lane.partition}"] = sent or lane.gone
        lane.unsent += lane.latest.values()
        self.done.unsent += len(lane.unsent)
        self._ledger.apply(claim, Decision(outputs=lane.unsent), lane.seen, lane.position, lane.log_ms)

    def _look_last(self, lane: Lane) -> None:
        """Look again at who was looked at last because time had passed, or thresholds were new, and nothing changed."""
        moments: dict[tuple[int, int], list[str]] = {}
        for name, last in lane.known.last.items():
            if name not in lane.looked:
                moments.setdefault((last.updated_at, last.version), []).append(name)
        for (now_ms, version), names in sorted(moments.items()):
            if version != UNKNOWN:
                lane.handler.in_force = self._thresholds(version)
            self._apply(lane, [], names, now_ms)


def _awaited(lane: Lane, change: Change) -> str:
    """Key of the hand-over that must be there before this change; empty without one."""
    return change.takes or lane.claim.waits.get(change.customer_id, "")
