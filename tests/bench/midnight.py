"""Many customers due at one moment: how late is the last? `python -m tests.bench.midnight [customers [partitions]]`.

profile's real loop and handlers on a Valkey (`appendfsync always`) and a broker of their own, one worker, its clock
moved by the bench. `midnight`: all have been quiet for 90 days when the day begins, so at_risk begins for all of them.
`jump`: customers with a year of visits and orders behind them, the worker away for 40 days; everybody who fell due
meanwhile is looked at, and those who are not due are swept as after every restart. `late`: from the due moment (of the
jump: from the start of the worker) until the broker has acknowledged the change. `round`: what an event waits for that
comes meanwhile. 50,000 customers take three minutes, most of them to fill Valkey.
"""

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from confluent_kafka import Producer

from deploy.local.settings import local_settings
from services.chassis.avro import Codec
from services.chassis.clock import now_ms
from services.chassis.health import Health
from services.chassis.ids import partition_of
from services.chassis.kafka import client, offsets
from services.chassis.kafka.line import LedgerWorker
from services.chassis.kafka.loop import Loop, LoopConfig
from services.chassis.kafka.loop_metrics import LoopMetrics
from services.chassis.kafka.owned import Work
from services.chassis.kafka.relay import Relay
from services.chassis.logs import configure_logs
from services.chassis.records import Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.client import sync_client
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.registry import open_registry
from services.chassis.settings import SharedSettings
from services.chassis.testing.waiting import free_port
from services.profile.codec import CHANGES
from services.profile.core.calendar import DAY_MS
from services.profile.handler import SERVICE, ProfileHandler
from services.profile.sweep import Sweep
from tests.backends import running_broker
from tests.conformance.valkey_server import valkey_server
from tests.unit.profile.profile_builders import CONFIG, CUTS

TOPIC = "touchpoints.resolved"
AHEAD_MS, QUIET_DAYS, JUMP_DAYS, BATCH = 500, 90, 40, 2_000
NAMES = ("Product Viewed", "Page Viewed", "Product Added", "Logged In", "Order Completed")
History = list[tuple[str, int]]
METRICS = LoopMetrics(SERVICE, Health())


@cache
def midnight_ms() -> int:
    """A midnight that lies ahead; the bench's clock comes to it, whatever the machine's says."""
    return CONFIG.calendar.start_ms(CONFIG.calendar.day(now_ms()) + 1)


def quiet(chance: random.Random) -> History:
    """Ten events, the last of them so many days before midnight that at_risk begins there."""
    last_ms = midnight_ms() - (QUIET_DAYS + 1) * DAY_MS
    days = sorted(chance.uniform(0, 270) for _ in range(9))
    return [(chance.choice(NAMES), last_ms - int(day * DAY_MS)) for day in reversed(days)] + [("Logged In", last_ms)]


def spread(chance: random.Random) -> History:
    """Ten events of the last year."""
    days = sorted((chance.uniform(0, 365) ** 2 / 365 for _ in range(10)), reverse=True)
    return [(chance.choice(NAMES), midnight_ms() - DAY_MS - int(day * DAY_MS)) for day in days]


class Clock:
    """The machine's clock, put elsewhere."""

    def __init__(self, at_ms: int) -> None:
        self.set(at_ms)

    def __call__(self) -> int:
        return now_ms() + self._ahead_ms

    def set(self, at_ms: int) -> None:
        """As if it were this moment now."""
        self._ahead_ms = at_ms - now_ms()


@dataclass
class Told:
    """When changes were acknowledged after the moment that all wait for, and what it took."""

    late_s: list[float] = field(default_factory=list)
    longest_round_s: float = 0.0
    began_s: float = 0.0
    over_s: float = 0.0
    swept_s: float = 0.0
    cpu_s: float = 0.0

    def begin(self, in_s: float = 0.0) -> None:
        """In so many seconds they are due."""
        self.began_s, self.cpu_s = time.monotonic() + in_s, time.process_time()

    def round(self, loop: Loop) -> None:
        """One more."""
        before_s = time.monotonic()
        loop.round()
        self.longest_round_s = max(self.longest_round_s, time.monotonic() - before_s)

    def end(self) -> None:
        """Nobody is due any more."""
        self.over_s, self.cpu_s = time.monotonic() - self.began_s, time.process_time() - self.cpu_s

    def row(self, name: str, due: int) -> str:
        """The figures."""
        late_s = sorted(self.late_s)
        at = [late_s[min(len(late_s) - 1, int(len(late_s) * share))] for share in (0.5, 0.99, 1.0)]
        figures = [f"{due:,}", f"{len(late_s):,}", *(f"{one:.2f}" for one in (*at, self.over_s, self.longest_round_s))]
        figures += [f"{self.cpu_s / due * 1e6:.0f}", f"{due / self.cpu_s:,.0f}"]
        return f"{name:<10}" + "".join(f"{figure:>11}" for figure in figures)


HEAD = f"{'':<10}" + "".join(
    f"{name:>11}"
    for name in ("due", "changes", "late p50 s", "p99 s", "max s", "all s", "round s", "CPU µs", "per CPU s")
)


class TimedRelay(Relay):
    """Notes when the changes of a round were acknowledged."""

    def __init__(self, new_producer: Callable[[], Producer], told: Told) -> None:
        super().__init__(new_producer)
        self._told = told

    def send(self, work: Work) -> None:
        """See Relay."""
        super().send(work)
        changes = sum(output.topic == CHANGES for _, entry in work for output in entry.outputs)
        self._told.late_s += [time.monotonic() - self._told.began_s] * changes


class Bench:
    """One deployment of profile alone."""

    def __init__(self, settings: SharedSettings, histories: Callable[[random.Random], History]) -> None:
        self._settings, self._histories = settings, histories
        self._client = sync_client(settings.redis_url)
        self._ledger, self._registry, self._codec = Ledger(self._client), open_registry(), Codec("touchpoint")
        self._slots = [Slot(SERVICE, number) for number in range(settings.partitions)]

    def _handler(self, claim: Claim) -> ProfileHandler:
        return ProfileHandler(
            claim.slot, self._ledger, claim.waits, CONFIG, self._settings.partitions, lambda: CUTS, 200_000,
            self._registry,
        )  # fmt: skip

    def fill(self, customers: int) -> None:
        """Customers with histories, concluded hours before midnight; nothing of it is sent."""
        cluster_id, topic_ids = offsets.log_identity(self._settings.kafka_bootstrap, [TOPIC])
        claims = [self._ledger.claim(slot, TOPIC, cluster_id, topic_ids[TOPIC], 0) for slot in self._slots]
        handlers = [self._handler(claim) for claim in claims]
        waiting: list[list[Record]] = [[] for _ in self._slots]
        for number in range(customers):
            for record in self._records(number):
                waiting[record.partition].append(record)
            full = [p for p, some in enumerate(waiting) if len(some) >= BATCH or number == customers - 1]
            for p in full:
                decision = handlers[p].decide(waiting[p], [], midnight_ms() - DAY_MS // 2)
                waiting[p] = []
                if decision is not None:
                    decision.outputs = []
                    self._ledger.apply(claims[p], decision, {}, 0, 0)

    def _records(self, number: int) -> Iterator[Record]:
        name = f"customer-{number}".encode()
        p = partition_of(name, self._settings.partitions)
        for n, (event, at_ms) in enumerate(self._histories(random.Random(number)), 1):
            order = {"order_id": f"o{number}-{n}", "amount_minor": 4_000 + n, "currency": "CNY"}
            value = self._codec.encode(
                {
                    "event_id": f"e{number}-{n}", "source": "shop", "type": "track", "name": event,
                    "identifiers": [f"user_id:{number}"], "occurred_at": at_ms, "received_at": at_ms,
                    **(order if event == "Order Completed" else {}),
                }
            )  # fmt: skip
            headers = {"kind": b"event", "n": b"%d" % n, "src": b"1.0.%d" % n, "node": b"user_id:%d" % number}
            yield Record(TOPIC, p, -1, name, value, headers, at_ms)

    def due(self, at_ms: int) -> int:
        """How many are due at that moment."""
        return sum(int(self._client.zcount(slot.due, "-inf", at_ms)) for slot in self._slots)

    def run(self, clock: "Clock", is_away: bool) -> Told:
        """Rounds until nobody is due, and with a sweep until it is through."""
        told = Told()
        sweeps: list[Sweep] = []

        def open_worker(claim: Claim) -> LedgerWorker:
            handler = self._handler(claim)
            sweeps.append(Sweep(claim.slot, self._ledger, lambda: CUTS if is_away else None, handler.refolds))
            return LedgerWorker(claim, self._ledger, handler, sweeps[-1].some)

        loop = Loop(LoopConfig(SERVICE, TOPIC), self._settings, self._ledger, open_worker, METRICS, clock)
        loop.relay = TimedRelay(lambda: client.producer(self._settings.kafka_bootstrap, SERVICE), told)
        loop.join()
        try:
            while not loop.owned.lines:
                told.begin()
                loop.round()
            if not is_away:
                clock.set(midnight_ms() - AHEAD_MS)
                told.begin(AHEAD_MS / 1000)
                while clock() < midnight_ms():
                    told.round(loop)
            while self.due(clock()):
                told.round(loop)
            told.end()
            while is_away and any(sweep._swept_version != CUTS.version for sweep in sweeps):
                loop.round()
            told.swept_s = time.monotonic() - told.began_s
            return told
        finally:
            loop.owned.release_all()
            loop.reader.close()


@contextmanager
def deployment(partitions: int, histories: Callable[[random.Random], History]) -> Iterator[Bench]:
    """Broker and Valkey in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder, valkey_server(Path(folder)) as url:
        own = {"TOUCHSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}", "TOUCHSTREAM_REDIS_URL": url,
               "TOUCHSTREAM_LOCAL_STATE_DIR": folder}  # fmt: skip
        settings = local_settings(own | {"TOUCHSTREAM_PARTITIONS": str(partitions)})
        with running_broker(settings, partitions):
            yield Bench(settings.model_copy(update={"relaxed_durability": True}), histories)


def main() -> None:
    """Run both and print."""
    customers, partitions = ([int(text) for text in sys.argv[1:]] + [50_000, 4][len(sys.argv) - 1 :])[:2]
    configure_logs(SERVICE, "error")
    print(HEAD)
    with deployment(partitions, quiet) as bench:
        bench.fill(customers)
        due = bench.due(midnight_ms())
        assert due == customers == bench.due(midnight_ms()) - bench.due(midnight_ms() - 1), due
        told = bench.run(Clock(midnight_ms() - DAY_MS // 2), is_away=False)
        assert len(told.late_s) == customers
        print(told.row("midnight", due), flush=True)
    with deployment(partitions, spread) as bench:
        bench.fill(customers)
        clock = Clock(midnight_ms() + JUMP_DAYS * DAY_MS)
        due = bench.due(clock())
        print(f"{bench.due(midnight_ms()):,} of {customers:,} due at an ordinary midnight, {due:,} in {JUMP_DAYS} days")
        told = bench.run(clock, is_away=True)
        print(told.row("jump", due))
        print(f"everybody has been looked at {told.swept_s:.1f} s after the jump")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
