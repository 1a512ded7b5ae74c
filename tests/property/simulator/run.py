"""One plan, run to the end and compared with the reference."""

import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from services.chassis.ids import partition_of
from services.chassis.records import Record
from services.chassis.testing.interleaving import Interleaving, Stopped, Stuck
from services.identity import janitor
from services.profile.core.calendar import DAY_MS
from services.profile.core.customer_log import CustomerState
from tests.property.identity.graph_lab import raw_names
from tests.property.identity.naive_graph import Touch
from tests.property.simulator import pipeline
from tests.property.simulator.checks import BrokenError, Outcome
from tests.property.simulator.pipeline import TOUCHPOINTS, Server, codec
from tests.property.simulator.reference import Reference
from tests.property.simulator.story import Teller, readable
from tests.property.simulator.workload import Draft, Plan
from tests.unit.profile.profile_builders import CONFIG, TODAY

MINUTE_MS = 60_000
MORNING_MS = CONFIG.calendar.start_ms(TODAY) + 10 * MINUTE_MS
LATER_DAYS = (40, 200)  # what is left is looked at after these


@dataclass
class Result:
    """`wrong`: empty when all is well. `struck`: faults that happened, by kind; `graph`: what the graph decided."""

    wrong: list[str] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)
    points: int = 0
    story: list[str] = field(default_factory=list)


class Run:
    """A deployment, its sources and the reference."""

    def __init__(self, plan: Plan, tells: bool = False) -> None:
        """`tells`: also write down what happens."""
        config = plan.config
        self.plan = plan
        self.server = Server(twins=not config.pure_lua)
        self.touches: dict[tuple[int, int], tuple[Draft, dict[str, Any] | None, int]] = {}
        holder: list[Interleaving] = []
        services = [pipeline.identity(config, lambda: holder[0]), pipeline.profile(config), pipeline.rules(config)]
        self.world = world = Interleaving(
            services, config.processes, self.server, pipeline.LEDGER[0], timed=(janitor,), seed=plan.seed,
            faults=list(plan.faults), batch_most=config.batch_most, skew_most_ms=config.skew_ms,
            story=[] if tells else None, calm=plan.calm, late_commits=config.late_commits,
        )  # fmt: skip
        holder.append(world)
        if config.ages:
            self.server.watched = self._incomplete
        if tells:
            self.server.told = Teller(world).script
        world.wall_ms = MORNING_MS
        self.policy = pipeline.policy_of(*pipeline.policy_key(config))
        self.reference = Reference(self.policy, MORNING_MS)
        self.applied = 0
        for draft in plan.drafts:
            world.later(draft.at, lambda draft=draft: self._report(draft))

    def result(self) -> Result:
        """Run it all. Never raises."""
        wrong: list[str] = []
        try:
            self.world.run()
            for days in LATER_DAYS:
                self._catch_up()
                self.world.wall_ms += days * DAY_MS
                self.reference.pass_time(self.world.wall_ms)
                self.world.run()
            self.world.finish()
            self.world.run()
            self._catch_up()
            self.reference.now_ms = self.world.wall_ms
            wrong = self._outcome().differences()
        except Stopped as error:
            self._catch_up()
            wrong = [f"contradiction: {text}" for text in self._outcome().contradictions()] or [f"stopped: {error}"]
        except (Stuck, BrokenError) as error:
            wrong = [f"{type(error).__name__.lower()}: {error}"]
        except Exception as error:  # noqa: BLE001 - whatever a bug raises is the result
            where = traceback.extract_tb(error.__traceback__)[-1]
            wrong = [f"{type(error).__name__}: {error} ({where.filename.rpartition('/')[2]}:{where.lineno})"]
        finally:
            self.world.close()
        return Result(wrong, self.world.struck, self._decided(), self.world.points, self._story())

    def _story(self) -> list[str]:
        return readable(self.world.story or [], self.reference.names)

    def _decided(self) -> Counter[str]:
        """How often the graph did what."""
        graph = self.reference.graph
        found = Counter(change.what for change in graph.changes)
        return found + Counter({"duplicates": graph.duplicates, "dead letters": len(graph.poisoned)})

    def _incomplete(self, member: str, state: CustomerState) -> None:
        """At any moment: a customer that waits or holds something has no timer, it is looked at when it is complete."""
        if not state.is_complete() or (state.wait or state.held):
            self.world.stops.append(f"profile: {member} has a timer although it holds {state.held} or waits")

    # -- sources
    def _report(self, draft: Draft) -> None:
        """ingest accepts a request: from now on it must count."""
        world, partitions = self.world, self.plan.config.partitions
        world.wall_ms += draft.minutes * MINUTE_MS
        key = draft.ids[0].encode()
        touchpoint = None if draft.kind == "garbage" else fields_of(draft, world.wall_ms)
        value = b"\0garbage" if touchpoint is None else codec("touchpoint").encode(touchpoint)
        record = Record(TOUCHPOINTS, partition_of(key, partitions), -1, key, value, {}, 0)
        world.broker.append(record)
        if touchpoint is not None:
            touchpoint = codec("touchpoint").decode(value)
        self.touches[record.partition, record.offset] = (draft, touchpoint, record.log_ms)
        world.say(f"ingest accepts {draft.kind} {draft.message} of {draft.ids} at {record.partition}.{record.offset}")

    # -- the reference
    def _catch_up(self) -> None:
        """Feed the reference with what the graph has decided since."""
        for partition, first, upto in self.server.decided[self.applied :]:
            for offset in range(first, upto):
                draft, touchpoint, log_ms = self.touches[partition, offset]
                kind = {"garbage": "poison", "unreadable": "event"}.get(draft.kind, draft.kind)
                touch = Touch(
                    kind, draft.ids, draft.message, (partition, offset), log_ms, draft.is_public,
                    verified=("phone",) if draft.is_verified else (),
                )  # fmt: skip
                self.reference.step(touch, touchpoint)
        self.applied = len(self.server.decided)

    def _outcome(self) -> Outcome:
        config = self.plan.config
        ids = {x for draft, _, _ in self.touches.values() for x in draft.ids if draft.kind != "release"}
        encoded = raw_names(ids)
        writer = pipeline.writer_of(pipeline.policy_key(config), config.partitions)
        nodes = {writer.node(raw): x for x, raw in encoded.items()}
        return Outcome(
            self.server, self.world.broker.logs, self.reference, config.partitions, nodes, encoded, config.ages
        )


def fields_of(draft: Draft, now_ms: int) -> dict[str, Any]:
    """The touchpoint that ingest makes of it."""
    kind = draft.kind if draft.kind in ("unlink", "erase", "link", "refuse", "release") else "track"
    return {
        "event_id": draft.message, "source": "shop", "type": kind,
        "name": draft.name, "identifiers": list(draft.ids), "occurred_at": now_ms - draft.days * DAY_MS,
        "received_at": now_ms, "amount_minor": draft.amount if draft.name.startswith("Order") else 0, "currency": "CNY",
        "traits": b"[garbage" if draft.kind == "unreadable" else b'{"t%d":%d}' % (draft.amount % 3, draft.amount),
        "flags": 2 * draft.is_public + 8 * draft.is_verified,
    }  # fmt: skip


def run(plan: Plan, tells: bool = False) -> Result:
    """The result of a plan."""
    return Run(plan, tells).result()
