"""rules' Redis from its log: hand-overs through the same handler, and what has fired as the topic `triggers` says.

Rules change from day to day, and what fired was decided by those of that day. So no condition is asked again: at every
change the rules fire of which `triggers` holds a trigger for it, bytes and number compared. Only at the very last one
the rules in force now are asked as well, since one of its triggers may not have been sent.
"""

from collections.abc import Callable, Mapping

from services.chassis.avro import Codec
from services.chassis.errors import Fatal
from services.chassis.kafka.reader import Place
from services.chassis.kafka.streams import Sent, Streams
from services.chassis.records import Decision, Record
from services.chassis.redis.claim import Verdict, accept, number_of
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.rebuild import open_ledger
from services.chassis.redis.slots import Slot
from services.rules.adapters import CHANGES, SERVICE, TRIGGERS, Wire
from services.rules.core.evaluate import RuleIndex, is_handover
from services.rules.rebuild.recorded import Fired, Lane, Older, Rebuilt, Recorded, Replaying

TOPIC, DEAD = CHANGES, "rules.dead"
OUTPUTS = (TRIGGERS, DEAD)
BATCH = 2_000


class Rebuild:
    """One run over all partitions."""

    def __init__(
        self, ledger: Ledger, wire: Wire, now: RuleIndex, generation: int, inputs: Streams, outputs: Streams,
        firsts: Mapping[Place, int], worked: Mapping[int, int], clock_ms: int, advance: Callable[[int], object],
        older: Older | None = None,
    ) -> None:  # fmt: skip
        """`now`: the rules in force; `worked`: offset before which everything is worked off and sent; `older`: what
        retention has taken.
        """
        self._older, self._firsts = older, firsts
        self._ledger, self._wire, self._inputs, self._worked = ledger, wire, inputs, worked
        self._clock_ms, self._advance = clock_ms, advance
        self.done = Rebuilt()
        self._codec, self._sent, self._outputs = Codec("trigger", wire.registry), Sent(outputs), outputs
        self.lanes: list[tuple[Lane, Replaying]] = []
        for p in range(wire.partitions):
            claim = open_ledger(ledger, Slot(SERVICE, p), TOPIC, firsts[TOPIC, p], generation)
            lane = Lane(p, claim, position=claim.position)
            rules = Recorded(now, lane)
            handler = Replaying(claim.slot, ledger, claim.waits, lambda rules=rules: rules, wire)  # type: ignore[misc]
            handler.lane, handler.done = lane, self.done
            self.lanes.append((lane, handler))

    def run(self) -> Rebuilt:
        """Work off every partition, then those once more whose customers waited for a later one."""
        self._read_dead()
        for lane, _ in self.lanes:
            self._read_triggers(lane)
        if self._older is not None:
            self._walk_older(self._older)
        for lane, handler in self.lanes:
            self._walk(lane, handler)
        self._release()
        left = -1
        while left != (left := sum(lane.left for lane, _ in self.lanes)):
            for lane, handler in self.lanes:
                self._walk_on(lane, handler)
            self._release()
        for lane, _ in self.lanes:
            self._close(lane)
        return self.done

    def _release(self) -> None:
        """Let go on whose hand-over a partition that was walked later has given."""
        moved = True
        while moved:
            moved = False
            for lane, handler in self.lanes:
                before = dict(lane.claim.waits)
                if before:
                    self._apply(lane, handler, [])
                    moved = moved or before != lane.claim.waits

    def _read_dead(self) -> None:
        for p in range(self._wire.partitions):
            for record in self._outputs.all_of((DEAD, p)):
                source, _, number = record.headers["seq"].partition(b":")
                base = self.lanes[int(source)][0].base
                base[f"{DEAD}/{p}"] = max(int(number), base.get(f"{DEAD}/{p}", 0))

    def _read_triggers(self, lane: Lane) -> None:
        place = TRIGGERS, lane.partition
        if self._older is not None:
            for row in self._older.triggers(lane.partition, self._firsts[place]):
                lane.left += 1
                lane.base[f"{TRIGGERS}/{lane.partition}"] = lane.left
                lane.fired[row[0], row[1]].append(Fired(row[2], row[3], row[4], row[5], row[6], b"", 0))
        while (found := self._sent.next(place, str(lane.partition))) is not None:
            number, record = found
            value = self._codec.decode(record.value)
            lane.last = value["customer_id"], value["cause"]
            lane.left += 1
            lane.base[f"{TRIGGERS}/{lane.partition}"] = number
            lane.fired[lane.last].append(
                Fired(
                    value["rule"],
                    value["rule_version"],
                    value["anchor"],
                    value["fired_at"],
                    value["actions"],
                    record.value or b"",
                    number,
                )
            )

    def _walk_older(self, older: "Older") -> None:
        """What retention has taken of profile.changes, in the order in which it was decided."""
        batches: dict[int, list[Record]] = {lane.partition: [] for lane, _ in self.lanes}

        def apply() -> None:
            for lane, handler in self.lanes:
                self._apply(lane, handler, batches[lane.partition])
                batches[lane.partition] = []

        for record in older.changes:
            if self._matters(self.lanes[record.partition][0], record):
                batches[record.partition].append(record)
                if len(batches[record.partition]) >= BATCH:
                    apply()
        apply()
        self._release()

    def _walk(self, lane: Lane, handler: Replaying) -> None:
        """Hand on what moves customers' states, and every change that something fired at, as far as all was sent."""
        batch: list[Record] = []
        while lane.position < self._worked.get(lane.partition, 0):
            record = self._next(lane)
            if record is not None and self._matters(lane, record):
                batch.append(record)
                if len(batch) >= BATCH:
                    self._apply(lane, handler, batch)
                    batch = []
        self._apply(lane, handler, batch)

    def _walk_on(self, lane: Lane, handler: Replaying) -> None:
        """One change at a time, to the last of which a trigger was sent."""
        lane.is_tail = True
        while lane.left > sum(len(f) for (name, _), f in lane.fired.items() if name in lane.claim.waits):
            record = self._next(lane)
            if record is not None and self._matters(lane, record):
                self._apply(lane, handler, [record])

    def _next(self, lane: Lane) -> Record | None:
        """The next record that has not been seen; None for a repetition. Raises Fatal at the end."""
        record = self._inputs.next((TOPIC, lane.partition))
        if record is None:
            raise Fatal(
                f"{TOPIC} partition {lane.partition} ends at {lane.position}, before the changes that its last"
                f" {lane.left} triggers came from"
            )
        self.done.changes += 1
        if self.done.changes % BATCH == 0:
            self._advance(BATCH)
        lane.position, lane.log_ms = record.offset + 1, record.log_ms
        found = number_of(record)
        if found is not None and found[0] not in lane.seen and self._firsts[TOPIC, lane.partition] > 0:
            lane.seen[found[0]] = found[1] - 1  # those before it are gone
        return record if accept(lane.seen, record) is Verdict.TAKE else None

    def _matters(self, lane: Lane, record: Record) -> bool:
        place = record.key.decode("utf-8", "replace"), record.headers.get("src", b"").decode()
        return bool(lane.fired.get(place)) or is_handover(record.headers.get("when", b""))

    def _apply(self, lane: Lane, handler: Replaying, records: list[Record]) -> None:
        decision = handler.decide(records, [], self._clock_ms)
        if decision is None:
            return
        late, decision.late_deletes = decision.late_deletes, []
        lane.unsent += [output for output in decision.outputs if output.topic == TRIGGERS]
        decision.outputs = []
        self._ledger.apply(lane.claim, decision, {}, lane.claim.position, 0)
        if late:
            self._ledger.delete(late)

    def _close(self, lane: Lane) -> None:
        left = [place for place, fired in lane.fired.items() if fired]
        if left:
            raise Fatal(
                f"{TRIGGERS} partition {lane.partition}: {len(left)} triggers belong to no change there is, the first"
                f" of customer {left[0][0]}, caused by {left[0][1]}"
            )
        self.done.unsent += len(lane.unsent)
        source = str(lane.partition)
        if self._older is not None and source not in lane.seen and (number := self._older.number(lane.partition)):
            lane.seen[source] = number
        lane.claim.base = lane.base
        self._ledger.apply(lane.claim, Decision(outputs=lane.unsent), lane.seen, lane.position, lane.log_ms)
