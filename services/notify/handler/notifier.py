"""The notifier without Faust: intake, one lane per destination, relay and gauges, started and drained together."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.chassis.logs import get_logger
from services.notify import metrics
from services.notify.adapters.store import Store
from services.notify.channels.base import Sender
from services.notify.channels.sink import AbsentSender
from services.notify.core.breaker import state_of
from services.notify.core.retry import POLICIES, Policy
from services.notify.handler.intake import Intake
from services.notify.handler.lane import Context, Lane, Limits
from services.notify.handler.persist import Persistence
from services.notify.handler.relay import Relay

OBSERVE_S = 1.0
# A cancellation may be lost: redis-py sends with asyncio.wait_for, and Python 3.11's returns the answer instead when
# both come in one round of the loop. Shorter: a part that is closing its connection would be disturbed in it.
CANCEL_AGAIN_S = 0.5
# A destination that left the file while deliveries wait for it: looked at slowly, so that they end in the usual hours.
ABSENT = Limits(concurrency=8, timeout_s=1.0, lease_ms=10_000)


@dataclass(frozen=True, slots=True)
class Opened:
    """A destination ready for work."""

    sender: Sender
    policy: Policy
    limits: Limits


class Notifier:
    """Everything between the trigger's bytes and the record in `deliveries`."""

    def __init__(
        self, intake: Intake, relay: Relay, store: Store, persistence: Persistence, context: Context,
        destinations: Mapping[str, Opened],
    ) -> None:  # fmt: skip
        self.intake, self.relay, self._store, self._persistence = intake, relay, store, persistence
        self._context = context
        self._lanes = {
            name: Lane(name, item.sender, item.policy, item.limits, context) for name, item in destinations.items()
        }
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._log = get_logger()

    def wake(self, destinations: set[str]) -> None:
        """These destinations have something new."""
        for name in destinations:
            if name in self._lanes:
                self._lanes[name].wake()

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        self._tasks = {
            "intake": asyncio.create_task(self.intake.run()),
            "relay": asyncio.create_task(self.relay.run()),
            "observer": asyncio.create_task(self._observe()),
        }
        for name, lane in self._lanes.items():
            self._tasks[f"lane {name}"] = lane.start()

    def crashed(self) -> str:
        """The name and error of a part that has ended (a bug: the process must stop), "" while all run."""
        for name, task in self._tasks.items():
            if task.done():
                error = None if task.cancelled() else task.exception()
                return f"{name} ended: {error!r}"
        return ""

    async def stop(self, deadline_s: float) -> None:
        """Claim nothing more, let sends finish, relay what they came to, end: all within deadline_s."""
        ends_at = time.monotonic() + deadline_s
        await asyncio.gather(*(lane.stop(deadline_s) for lane in self._lanes.values()))
        await _end([self._tasks["relay"]])  # in the middle of a send at worst: the same numbers go again
        try:
            async with asyncio.timeout(max(0.1, ends_at - time.monotonic())):
                while await self._persistence.call("relay", self.relay.round):
                    if time.monotonic() > ends_at:  # the time-out is a cancellation too
                        raise TimeoutError
        except TimeoutError:
            self._log.warning("relay.unfinished", text="finished deliveries wait in the outbox for the next start")
        await _end(self._tasks.values())
        await asyncio.gather(*(lane.sender.close() for lane in self._lanes.values()))

    async def _observe(self) -> None:
        while True:
            await self._persistence.call("depths", self._gauge)
            await asyncio.sleep(OBSERVE_S)

    async def _gauge(self) -> None:
        outbox, depths = await self._store.depths(self._context.partitions)
        metrics.outbox.set(outbox)
        for name, depth in depths.items():
            metrics.queue.labels(name).set(depth.deliveries)
            metrics.queue_age_s.labels(name).set(depth.overdue_ms / 1_000)
            if depth.deliveries and name not in self._lanes:
                self._open_absent(name)
        now_ms = self._context.clock()
        for name, lane in self._lanes.items():
            metrics.breaker_state.labels(name).set(state_of(lane.breaker, now_ms))

    def _open_absent(self, name: str) -> None:
        self._log.error(
            "destination.absent", destination=name,
            text="deliveries wait for a destination that left the destinations file; put it back or they will fail",
        )  # fmt: skip
        lane = self._lanes[name] = Lane(name, AbsentSender(), POLICIES["webhook"], ABSENT, self._context)
        self._tasks[f"lane {name}"] = lane.start()


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel them until they have ended, however they end."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
