"""The replay: records of every customer through the handler, in the order and at the moments of profile.changes.

profile.changes says when each record was worked off, what time alone brought about, and under which thresholds; the
last snapshot of a customer in `profiles` says when it was looked at last and how often before. What the handler
concludes is compared byte for byte with both; what does not stand there was never sent and stays in the outbox.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge

import msgspec

from services.chassis.avro import Codec
from services.chassis.errors import Fatal
from services.chassis.kafka.reader import Place
from services.chassis.kafka.streams import Sent, Streams
from services.chassis.records import Decision, Output, Record
from services.chassis.redis.claim import Verdict, accept, number_of
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.rebuild import open_ledger
from services.chassis.redis.slots import Slot
from services.chassis.registry import Registry
from services.profile.codec import CHANGES, PROFILES
from services.profile.core.config import ProfileConfig
from services.profile.core.state import Thresholds
from services.profile.handler import SERVICE, is_of_identity
from services.profile.rebuild.known import UNKNOWN, Known, version_of
from services.profile.rebuild.lane import Change, Lane, Replaying
from services.profile.rebuild.older import Older, is_retained

TOPIC = "touchpoints.resolved"
# Kind of a change → kind of the record behind it.
KINDS = {"event": b"event", "gave": b"give", "took": b"take", "erased": b"erase"}


class _Rfm(msgspec.Struct, frozen=True):
    recency_days: int = -1
    thresholds_version: int = 0


class _Profile(msgspec.Struct, frozen=True):
    rfm: _Rfm = _Rfm()


_profile = msgspec.json.Decoder(_Profile)


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
        older: Older | None = None, marks: Mapping[int, set[int]] | None = None,
        numbers: Callable[[int, int], int] = lambda source, partition: 0, keep: Callable[[Record], object] = id,
    ) -> None:  # fmt: skip
        """`versions`: all thresholds there ever were; `worked`: offset before which all is worked off and sent.

        `older`: what retention has taken; `marks`: see older.retained; `numbers(source, partition)`: how many records
        an input partition ever wrote there; `keep` takes changes that retention has taken.
        """
        self._older, self._marks, self._numbers, self._keep = older, marks or {}, numbers, keep
        self._firsts = firsts
        self._ledger, self._versions, self._worked, self._advance = ledger, versions, worked, advance
        self._inputs, self._sent = inputs, Sent(changes)
        self._codec = Codec("profile_change", registry)
        self._given: set[str] = set()
        self.done = Rebuilt()
        self.lanes: list[Lane] = []
        for p in range(partitions):
            claim = open_ledger(ledger, Slot(SERVICE, p), TOPIC, firsts[TOPIC, p], generation)
            self.lanes.append(Lane(claim, Replaying(claim, ledger, config, partitions, registry, known[p])))
        self._key = self.lanes[0].handler.give_key

    def run(self) -> Rebuilt:
        """Work off every change there is. Raises Fatal naming the first difference."""
        if self._older is not None:
            self._work_older(self._older)
        self._work_runs(self.lanes, 1 << 62)
        for lane in self.lanes:
            self._close(lane)
        return self.done

    def _stuck(self, lanes: list[Lane]) -> str:
        missing = [
            (c.customer_id, c.takes) for lane in lanes for c in lane.run if c.takes and c.takes not in self._given
        ]
        return f"{missing[:3]} took a hand-over that nobody gave"

    def _work_older(self, older: Older) -> None:
        """What was decided before the oldest change there is; who waits is let go in the chunk that lets him."""
        older.records = merge(older.records, *map(self._at_seam, self.lanes), key=lambda record: record.log_ms)
        for chunk in older.chunks():
            if chunk.ticks:
                self._settle(chunk.now_ms)  # time alone changes nothing of a customer who waits
            for lane in self.lanes:
                lane.handler.in_force = self._thresholds(chunk.version)
                records = [r for r in chunk.records.get(lane.partition, ()) if not self._put_aside(lane, r)]
                ticks = chunk.ticks.get(lane.partition, [])
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
        lane.ahead = self._change(lane)
        until_ms = lane.ahead.changed_at if lane.ahead is not None else 1 << 62
        worked = self._worked.get(lane.partition, 0)
        while lane.log_ms <= until_ms and (lane.ahead is not None or lane.position < worked):
            record = self._next(lane)
            if record is None:
                if lane.is_over:
                    break
            elif record.log_ms > until_ms or is_retained(record, self._marks):
                self._put(lane, record)
            else:
                yield record
        lane.is_past_seam = True

    def _put_aside(self, lane: Lane, record: Record) -> bool:
        """Whether the change that this record brought about is still there: it is worked off with it."""
        name, n = record.key.decode(), int(record.headers["n"])
        is_behind = min(lane.pending.get(name, {n: record})) < n
        if not is_behind and not is_retained(record, self._marks):
            return False
        lane.pending.setdefault(name, {})[n] = record
        return True

    def _old(self, lane: Lane, records: list[Record], ticks: list[str], now_ms: int) -> None:
        for output in self._apply(lane, records, ticks, now_ms, is_exact=bool(ticks)):
            if output.topic == CHANGES:
                self.done.gone += 1
                lane.gone += 1
                self._keep(Record(CHANGES, lane.partition, -1, output.key, output.value, dict(output.headers), now_ms))

    def _work_runs(self, lanes: list[Lane], until_ms: int) -> None:
        """Work off the changes of these partitions that were decided until then, by the moment of their decisions."""
        while True:
            found = []
            for lane in lanes:
                lane.run = lane.run or self._next_run(lane)
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
        own, waits = {key for change in lane.run for key in change.gives}, lane.claim.waits
        wanted = {c.takes or waits.get(c.customer_id, "") for c in lane.run} - own - {""}
        return wanted <= self._given

    def _release(self, lane: Lane, now_ms: int) -> None:
        """Let those go on of whom retention has left no change, and whose hand-over is there."""
        if any(key in self._given for key in lane.claim.waits.values()):
            self._old(lane, [], [], now_ms)

    # -- what was decided ---------------------------------------------------------------------------------------------
    def _next_run(self, lane: Lane) -> list[Change]:
        """The changes of one decision: one moment, ticks first, one version of thresholds."""
        run: list[Change] = []
        version = UNKNOWN
        while (change := lane.ahead or self._change(lane)) is not None:
            lane.ahead = change
            if run and (
                change.changed_at != run[0].changed_at
                or (change.kind == "tick" and run[-1].kind != "tick")
                or (version != change.version and UNKNOWN not in (version, change.version))
            ):
                break
            run.append(change)
            version = change.version if version == UNKNOWN else version
            lane.ahead = None
        lane.run_version = version
        return run

    def _thresholds(self, version: int) -> Thresholds | None:
        if version == 0:
            return None
        if version not in self._versions:
            raise Fatal(f"thresholds version {version} is neither in Redis nor in ClickHouse (table rfm_thresholds)")
        return self._versions[version]

    def _change(self, lane: Lane) -> Change | None:
        found = self._sent.next((CHANGES, lane.partition), str(lane.partition))
        if found is None:
            return None
        number, record = found
        value = self._codec.decode(record.value)
        kind, name = value["kind"], value["customer_id"]
        rfm = _profile.decode(value["profile"]).rfm if value["profile"] else _Rfm()
        takes = self._key(value["from_id"], value["handoff_id"], name) if kind == "took" else ""
        gives = [self._key(name, p["handoff_id"], p["to_id"]) for p in value["pieces"]] if kind == "gave" else []
        version = version_of(rfm.recency_days, rfm.thresholds_version)
        return Change(
            number, name, kind, value["cause"], value["changed_at"], version, takes, gives, record.value or b""
        )

    # -- what it was decided of ---------------------------------------------------------------------------------------
    def _replay(self, lane: Lane) -> None:
        run = lane.run
        if lane.run_version != UNKNOWN:
            lane.handler.in_force = self._thresholds(lane.run_version)
        ticks = [change.customer_id for change in run if change.kind == "tick"]
        records: list[Record] = []
        for change in run:
            if change.kind != "tick":
                records += self._records(lane, change)
        strays, lane.strays = lane.strays, []
        outputs = self._apply(lane, strays + records, ticks, run[0].changed_at)
        made = [output for output in outputs if output.topic == CHANGES]
        for change, output in zip(run, made, strict=False):
            if output.value != change.value:
                raise Fatal(self._difference(lane, change, output))
        if len(made) != len(run):
            raise Fatal(
                f"{CHANGES} partition {lane.partition}: {len(run)} changes of {run[0].changed_at} from number"
                f" {run[0].number} on, the replay makes {len(made)} of them"
            )
        self.done.changes += len(run)
        self._advance(len(run))

    def _difference(self, lane: Lane, change: Change, output: Output) -> str:
        there, here = self._codec.decode(change.value), self._codec.decode(output.value)
        fields = {name: (there[name], here[name]) for name in there if there[name] != here[name]}
        return (
            f"{CHANGES} partition {lane.partition} number {change.number} of {change.customer_id}: what was sent and"
            f" what the replay makes differ in {str(fields)[:600]}"
        )

    def _records(self, lane: Lane, change: Change) -> list[Record]:
        """The record behind a change, after those of its customer that come before it and changed nothing."""
        pending = lane.pending.setdefault(change.customer_id, {})
        while (n := _match(pending, change)) is None:
            if not self._read(lane):
                raise Fatal(
                    f"{TOPIC} partition {lane.partition} ends before the record behind {change.kind} {change.cause} of"
                    f" {change.customer_id}"
                )
        found = [pending.pop(number) for number in sorted(pending) if number <= n]
        if not pending:
            del lane.pending[change.customer_id]
        return found

    def _read(self, lane: Lane) -> bool:
        """Put one more record of the input in its place; False at its end."""
        record = self._next(lane)
        if record is not None:
            self._put(lane, record)
        return not lane.is_over

    def _next(self, lane: Lane) -> Record | None:
        """The next record of the input that is identity's and new; None at the end, and for any other."""
        record = self._inputs.next((TOPIC, lane.partition))
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

    def _put(self, lane: Lane, record: Record) -> None:
        lane.pending.setdefault(record.key.decode(), {}).setdefault(int(record.headers["n"]), record)

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

    # -- the end ------------------------------------------------------------------------------------------------------
    def _close(self, lane: Lane) -> None:
        self._look_last(lane)
        while lane.position < self._worked.get(lane.partition, 0) and self._read(lane):
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
        sent = self._sent.last((CHANGES, lane.partition), str(lane.partition))
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


def _match(pending: Mapping[int, Record], change: Change) -> int | None:
    """The number of the record behind a change."""
    kind, cause = KINDS[change.kind], change.cause.encode()
    for n in sorted(pending):
        headers = pending[n].headers
        place = headers["src"]
        if headers["kind"] == kind and (cause == place or cause.startswith(place + b".")):
            return n
    return None
