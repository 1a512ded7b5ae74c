"""One destination's line: its own queue, concurrency, breaker and pauses, so that a dead one slows nobody else.

Order of effects for one delivery: claimed under a lease (the INTENT says "sending") → sent → marked. Between the last
two lies the window that no system can close; what a lease that ran out means is core.retry's business.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.chassis.failpoints import fp_async
from services.chassis.ids import partition_of
from services.chassis.logs import get_logger, limited
from services.notify import metrics
from services.notify.adapters.store import Claimed, Ended, PutOff, Store
from services.notify.channels.base import Sender
from services.notify.core import breaker, retry
from services.notify.core.model import Delivery, Outcome, Result, Status, delivery_record
from services.notify.core.retry import Policy, Step
from services.notify.handler.marker import Marker
from services.notify.handler.pace import Pace
from services.notify.handler.persist import Persistence

# Another replica may have queued something for this destination; our own additions wake the lane at once.
POLL_S = 1.0
ROUND_S = 0.005
# A provider may ask one message to wait for a day; believing it for all others would let a typo stop a destination.
LONGEST_PAUSE_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Limits:
    """rate: (count, period_ms), count 0 = none. The lease outlasts the timeout, or two replicas could send at once."""

    concurrency: int
    timeout_s: float
    lease_ms: int
    rate: tuple[int, int] = (0, 1)


@dataclass(frozen=True, slots=True)
class Context:
    """What all lanes share. `random01` gives numbers in [0, 1); `on_finished` wakes the relay."""

    store: Store
    marker: Marker
    persistence: Persistence
    encode: Callable[[dict[str, object]], bytes]
    partitions: int
    clock: Callable[[], int]
    random01: Callable[[], float]
    on_finished: Callable[[], None]


class Lane:
    """Claims, sends and marks the deliveries of one destination."""

    def __init__(
        self, name: str, sender: Sender, policy: Policy, limits: Limits, context: Context,
        rules: breaker.Rules = breaker.Rules(),  # noqa: B008 - a frozen value
    ) -> None:  # fmt: skip
        self.name, self.sender, self._policy, self._limits, self._context = name, sender, policy, limits, context
        self._rules = rules
        self.breaker = breaker.Breaker()
        self._paused_until_ms = 0
        self._runner: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._pace = Pace(ROUND_S)
        self._is_full = False  # more could have been claimed but for our own limits: the next end of a send matters
        self._stopping = False
        self._log = limited(get_logger())

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    def start(self) -> asyncio.Task[None]:
        """Begin to work; needs a running event loop."""
        self._runner = asyncio.create_task(self.run())
        return self._runner

    async def run(self) -> None:
        """Work until stop()."""
        while not self._stopping:
            await self._pace.wait()
            self._wake.clear()
            wait_s = await self._context.persistence.call("claim", self._round)
            if wait_s > 0 and not self._stopping:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def stop(self, deadline_s: float) -> None:
        """Claim nothing more and wait for what is under way, at most deadline_s; the rest is left to its lease."""
        self._stopping = True
        self.wake()
        ends_at = time.monotonic() + deadline_s
        if self._runner is not None:  # a claim under way may still begin sends
            await asyncio.wait([self._runner], timeout=deadline_s)
            self._runner.cancel()
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=max(0.0, ends_at - time.monotonic()))
            for task in unfinished:
                task.cancel()

    async def _round(self) -> float:
        """Begin what may begin; returns how many seconds to wait unless woken."""
        context, now_ms = self._context, self._context.clock()
        free = self._limits.concurrency - len(self._tasks)
        blocked_ms = max(self._paused_until_ms, self.breaker.open_until_ms) - now_ms
        wanted = breaker.permitted(self.breaker, free, now_ms) if self._paused_until_ms <= now_ms else 0
        self._is_full = wanted <= 0
        if wanted <= 0:
            return min(POLL_S, blocked_ms / 1_000) if blocked_ms > 0 else POLL_S
        claimed, due_in_ms = await context.store.claim(self.name, wanted, self._limits.lease_ms, self._limits.rate)
        for item in claimed:
            self.breaker = breaker.begun(self.breaker, now_ms)
            task = asyncio.create_task(self._deliver(item))
            self._tasks.add(task)
            task.add_done_callback(self._done)
        self._is_full = len(claimed) == wanted
        if self._is_full:
            return 0
        return POLL_S if due_in_ms < 0 else min(POLL_S, max(due_in_ms, 1) / 1_000)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._is_full:
            self.wake()
        if not task.cancelled() and task.exception() is not None:
            # Its lease will run out and it is looked at again; that is what a crash of the process would do.
            self._log.error("delivery.crashed", destination=self.name, error=repr(task.exception())[:300])
            self.breaker = breaker.abandoned(self.breaker)

    async def _deliver(self, claimed: Claimed) -> None:
        delivery, attempts = claimed.delivery, claimed.attempts
        age_ms = claimed.now_ms - delivery.created_at
        step = retry.before_send(self._policy, attempts, claimed.is_doubtful, age_ms, claimed.since_first_ms)
        outcome = Outcome(Result.TRANSIENT)
        if step is None:
            await fp_async("before_send")
            outcome = await self._send(delivery)
            await fp_async("after_send")
            attempts += 1
            step = retry.after_send(
                self._policy,
                outcome,
                attempts,
                claimed.is_doubtful,
                age_ms,
                claimed.since_first_ms,
                self._context.random01(),
            )
        else:
            self.breaker = breaker.abandoned(self.breaker)
        await self._settle(claimed, step, attempts, outcome)

    async def _send(self, delivery: Delivery) -> Outcome:
        """One attempt within the time limit; tells the breaker what it says about the destination."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                outcome = await self.sender.send(delivery)
        except TimeoutError:
            outcome = Outcome(Result.AMBIGUOUS, f"no answer within {self._limits.timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 - a channel's surprise says nothing about acceptance
            outcome = Outcome(Result.AMBIGUOUS, f"{type(error).__name__} while sending")
        metrics.send_s.labels(delivery.channel).observe(time.monotonic() - started)
        metrics.attempts.labels(delivery.channel, outcome.result).inc()
        now_ms = self._context.clock()
        if outcome.retry_after_ms > 0:
            self._paused_until_ms = now_ms + min(outcome.retry_after_ms, LONGEST_PAUSE_MS)
            self.breaker = breaker.abandoned(self.breaker)
        elif outcome.result in (Result.DELIVERED, Result.PERMANENT):
            self.breaker = breaker.succeeded(self.breaker)
        else:
            self.breaker = breaker.failed(self.breaker, self._rules, now_ms)
        return outcome

    async def _settle(self, claimed: Claimed, step: Step, attempts: int, outcome: Outcome) -> None:
        """Mark the end, or put it off, until Redis has it."""
        context, delivery = self._context, claimed.delivery
        if step.status is None:
            put_off = PutOff(claimed, step.delay_ms, outcome.result is Result.AMBIGUOUS)
            done = await context.marker.mark(put_off)
            metrics.retries.labels(delivery.channel).inc()
            self._log.warning(
                "delivery.put_off", destination=self.name, attempts=attempts, delay_ms=step.delay_ms, error=step.error
            )
        else:
            status, now_ms = step.status, context.clock()
            fields = delivery_record(delivery, status, attempts, step.error, outcome.provider_id, now_ms)
            partition = partition_of(delivery.customer_id.encode(), context.partitions)
            done = await context.marker.mark(Ended(claimed, status, partition, context.encode(fields)))
            if done:
                self._count(delivery, status, now_ms)
                context.on_finished()
        if not done:
            metrics.fenced.inc()

    def _count(self, delivery: Delivery, status: Status, now_ms: int) -> None:
        metrics.deliveries.labels(delivery.channel, status).inc()
        if status is Status.DELIVERED and delivery.accepted_at:
            metrics.end_to_end_s.observe(max(0, now_ms - delivery.accepted_at) / 1_000)
