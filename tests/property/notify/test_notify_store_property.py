"""The scripts against a naive model: workers claim, crash, finish late and put off, in any order, on a real Valkey."""

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from deploy.local import valkey
from deploy.local.settings import local_settings
from services.chassis.redis.client import async_client
from services.chassis.testing.clock import FakeClock
from services.chassis.testing.waiting import free_port, wait_for
from services.notify.adapters.store import Accepted, Claimed, Ended, Mark, PutOff, Store
from services.notify.core.model import Status
from tests.unit.notify.notify_builders import delivery

LEASE_MS = 10_000
RATE = (3, 20_000)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    found = f"redis://127.0.0.1:{free_port()}/0"
    state = str(tmp_path_factory.mktemp("notify-property"))
    local = local_settings({"TOUCHSTREAM_REDIS_URL": found, "TOUCHSTREAM_LOCAL_STATE_DIR": state})
    process = subprocess.Popen(valkey.command(local), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: valkey.is_ready(local), "Valkey answers")
    yield found
    process.kill()
    process.wait()


@dataclass(slots=True)
class _Known:
    """What the model knows of a delivery: who may mark it, when it is looked at next, how it ended."""

    due_ms: int
    holder: int = 0
    sends: int = 0
    is_sending: bool = False
    is_doubtful: bool = False
    ended: str = ""


class Deliveries(RuleBasedStateMachine):
    url = ""
    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = async_client(self.url)
        self.clock = FakeClock()
        self.store = Store(self.client, 10**9, self.clock)
        self.known: dict[str, _Known] = {}
        self.ends: list[str] = []
        self.recent: list[int] = []
        self.wait(self.client.flushall())

    def wait(self, call):  # type: ignore[no-untyped-def]
        return self.loop.run_until_complete(call)

    def mark(self, found: Mark) -> bool:
        return bool(self.wait(self.store.settle([found]))[0])

    @rule(ids=st.lists(st.integers(0, 5), min_size=1, max_size=4), ends=st.sampled_from([False, False, True]))
    def accept(self, ids: list[int], ends: bool) -> None:
        status = Status.FAILED if ends else None
        found = [delivery(f"d{n}", status=status) for n in ids]
        _, is_new = self.wait(self.store.accept([], [Accepted(d, 0, b"%s" % d.delivery_id.encode()) for d in found]))
        for item, new in zip(found, is_new, strict=True):
            assert new == (item.delivery_id not in self.known)
            if new:
                self.known[item.delivery_id] = _Known(self.clock(), ended="failed" if ends else "")
                if ends:
                    self.ends.append(item.delivery_id)

    @rule(target=claims, wanted=st.integers(1, 3))
    def claim(self, wanted: int) -> MultipleResults[Claimed]:
        now = self.clock()
        found, _ = self.wait(self.store.claim("crm", wanted, LEASE_MS, RATE))
        self.recent = [at for at in self.recent if at > now - RATE[1]]
        due = [name for name, item in self.known.items() if not item.ended and item.due_ms <= now]
        assert len(found) == min(wanted, len(due), RATE[0] - len(self.recent))
        for item in found:
            model = self.known[item.delivery.delivery_id]
            assert item.delivery.delivery_id in due
            model.is_doubtful = model.is_doubtful or model.is_sending
            assert (item.attempts, item.is_doubtful) == (model.sends, model.is_doubtful)
            assert item.fence > model.holder
            model.holder, model.due_ms, model.is_sending = item.fence, now + LEASE_MS, True
            model.sends += 1
            self.recent.append(now)
        return multiple(*found)

    @rule(claimed=claims)
    def finish(self, claimed: Claimed) -> None:
        name = claimed.delivery.delivery_id
        model = self.known[name]
        done = self.mark(Ended(claimed, Status.DELIVERED, 0, name.encode()))
        assert done == (not model.ended and model.holder == claimed.fence)
        if done:
            model.ended = "delivered"
            self.ends.append(name)

    @rule(claimed=claims, delay_ms=st.sampled_from([0, 1, 500, LEASE_MS]), is_lost=st.booleans())
    def put_off(self, claimed: Claimed, delay_ms: int, is_lost: bool) -> None:
        model = self.known[claimed.delivery.delivery_id]
        done = self.mark(PutOff(claimed, delay_ms, is_lost))
        assert done == (not model.ended and model.holder == claimed.fence)
        if done:
            model.due_ms, model.is_sending = self.clock() + delay_ms, False
            model.is_doubtful = model.is_doubtful or is_lost

    @rule(ms=st.sampled_from([1, 500, LEASE_MS - 1, LEASE_MS, RATE[1], 60_000]))
    def time_passes(self, ms: int) -> None:
        """Whoever has not marked by now has crashed, as far as the others can see; it may still come back late."""
        self.clock.advance(ms)

    @invariant()
    def the_outbox_holds_every_end_once_in_order_with_contiguous_numbers(self) -> None:
        (waiting,) = self.wait(self.store.outbox(1_000, [(0, 0)]))
        assert [item.value.decode() for item in waiting] == self.ends
        assert [item.number for item in waiting] == list(range(1, len(self.ends) + 1))

    @invariant()
    def the_queue_holds_exactly_what_has_not_ended(self) -> None:
        _, depths = self.wait(self.store.depths(1))
        left = sum(1 for item in self.known.values() if not item.ended)
        assert sum(depth.deliveries for depth in depths.values()) == left

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.wait(self.client.aclose())
            self.loop.close()


def test_any_history_of_workers_agrees_with_the_model(url: str) -> None:
    Deliveries.url = url
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Deliveries,
        settings=settings(
            max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
