"""One deployment with everything that watches it, and how one seed is run on it: send, break, heal, wait, judge."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httpx
import redis

from services.chassis.redis.client import sync_client
from services.chassis.topics import load_topics
from tests.chaos.rig import nemeses
from tests.chaos.rig.deployment import Deployment
from tests.chaos.rig.journal import Journal
from tests.chaos.rig.observation import Observation
from tests.chaos.rig.observe import Channels, House, decode, read_graph, read_house
from tests.chaos.rig.oracle import differences, unknown
from tests.chaos.rig.quiet import QUIET_TIMEOUT_S, STUCK_S, NotQuietError, Quiet
from tests.chaos.rig.schedule import Fault, Shape
from tests.chaos.rig.tail import Seen, Tail
from tests.chaos.rig.workload import Manners, Plan, Workload

POLL_S = 0.03
# A seed of a few seconds; a sender that waits for a broker that is away may take as long as that.
SENDING_TIMEOUT_S = 300.0


@dataclass
class Struck:
    """A fault as it happened. Times count from the start of the workload; `recovery_s` from its end to rest."""

    fault: Fault
    said: str
    began_s: float
    ended_s: float = 0.0
    recovery_s: float = 0.0


@dataclass
class Verdict:
    """One seed. `differences` empty: nothing lost, nothing doubled."""

    seed: int
    shape: str
    struck: list[Struck] = field(default_factory=list)
    sent: int = 0
    acked: int = 0
    unknown: int = 0
    triggers: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0
    differences: list[str] = field(default_factory=list)


class Station:
    """A running deployment of one shape; run() as often as wanted, until a seed leaves it broken."""

    def __init__(self, shape: Shape, folder: Path, deployment: Deployment | None = None) -> None:
        """`deployment`: another one than the shape says."""
        self.shape, self.folder = shape, folder
        self.deployment = deployment or Deployment(folder, shape.brokers, shape.replicas)
        self.manners = Manners()
        self.patience_s, self.stuck_s = QUIET_TIMEOUT_S, STUCK_S
        self.records: list[Seen] = []  # of the last seed
        self._channels = Channels()
        self._runs = 0

    def __enter__(self) -> "Station":
        self.deployment.__enter__()
        d = self.deployment
        self._tail = Tail(d.cluster.bootstrap, load_topics(), d.partitions)
        self._quiet = Quiet(d, self._tail)
        self._house = House(d.settings.clickhouse_url)
        self._redis = sync_client(d.settings.redis_url)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._tail.close()
        self._quiet.close()
        self._house.close()
        self._redis.close()
        self.deployment.close()

    @property
    def journal_path(self) -> Path:
        """The journal of the last seed."""
        return self.folder / f"journal-{self._runs}.jsonl"

    def run(
        self, seed: int, faults: Sequence[Fault], workload_s: float, inject: Callable[[Deployment], None] | None = None
    ) -> Verdict:
        """One seed. `inject`: something else done once, a second into the workload (mutants, failpoints)."""
        self._runs += 1
        began_s, verdict = time.monotonic(), Verdict(seed, self.shape.name)
        # The run's number: the same seed again on this deployment has other customers.
        prefix = f"s{seed}r{self._runs}."
        plan = Plan(seed, prefix, self.shape.scenes, int(time.time() * 1000), self.manners)
        journal, since = Journal(self.journal_path), len(self.deployment.receiver.taken())
        workload = Workload(plan, journal, self.deployment.ingest_urls, workload_s)
        try:
            self._send_and_break(workload, faults, verdict, inject)
            self.deployment.heal()
            self._rest(verdict, began_s)
            seen = self._observe(plan, since)
            verdict.differences += differences(plan, journal, seen)
            verdict.triggers = len(seen.triggers)
        except (TimeoutError, httpx.HTTPError, redis.RedisError) as error:
            self.records += self._tail.take()
            verdict.differences.append(f"rest: {error}")
        finally:
            workload.stop()
            journal.close()
        verdict.sent = sum(1 for event in plan.messages if journal.attempts[event])
        verdict.unknown, verdict.errors = len(unknown(plan, journal)), journal.errors
        verdict.acked = len(journal.acked)
        verdict.took_s = time.monotonic() - began_s
        return verdict

    def _send_and_break(
        self, workload: Workload, faults: Sequence[Fault], verdict: Verdict,
        inject: Callable[[Deployment], None] | None,
    ) -> None:  # fmt: skip
        start_s = time.monotonic()
        due = sorted(faults, key=lambda fault: fault.at_s)
        holding: list[tuple[float, Struck, nemeses.Undo]] = []
        workload.start()
        while due or holding or not workload.is_done:
            self.deployment.tick()
            now_s = time.monotonic() - start_s
            if inject is not None and now_s > 1.0:
                inject(self.deployment)
                inject = None
            while due and due[0].at_s <= now_s:
                fault = due.pop(0)
                said, undo = nemeses.begin(self.deployment, fault)
                struck = Struck(fault, said, now_s, time.monotonic() - start_s)
                verdict.struck.append(struck)
                holding.append((struck.ended_s + fault.hold_s, struck, undo))
            for item in [item for item in holding if item[0] <= time.monotonic() - start_s]:
                item[2]()
                item[1].ended_s = time.monotonic() - start_s
                holding.remove(item)
            if now_s > SENDING_TIMEOUT_S:
                raise TimeoutError(f"senders were not done after {SENDING_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)

    def _rest(self, verdict: Verdict, began_s: float) -> None:
        """Wait for it. Where there is none the verdict says so, and what is there is judged all the same."""
        try:
            quiet_s = self._quiet.wait(self.patience_s, self.stuck_s)
        except NotQuietError as error:
            verdict.differences.append(f"rest: {error}")
            return
        for struck in verdict.struck:
            struck.recovery_s = max(0.0, quiet_s - began_s - struck.ended_s)

    def _observe(self, plan: Plan, since: int) -> Observation:
        self.records = self._tail.take()
        sifted, wrong = self._channels.sift(self.records)
        seen = Observation(decode(sifted), wrong)
        read_house(self._house, plan.prefix, seen)
        log = seen.records.get("touchpoints.resolved", [])
        seen.graph = read_graph(self._redis, {row["key"] for row in log})
        seen.received = self.deployment.receiver.taken(since)
        return seen
