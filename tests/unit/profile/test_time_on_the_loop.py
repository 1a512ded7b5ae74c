"""Time alone, on the real loop with a clock that the test moves: how soon after the due moment a tag begins."""

from collections.abc import Iterator
from typing import Any

import pytest

from services.chassis.avro import Codec
from services.chassis.kafka.line import LedgerWorker
from services.chassis.kafka.loop import LoopConfig
from services.chassis.records import Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.testing.simulation import Service, Simulation
from services.profile import handler as profile
from services.profile.core.calendar import DAY_MS
from tests.unit.profile.profile_builders import CONFIG, CUTS, TODAY

TOUCHPOINT, CHANGE = Codec("touchpoint"), Codec("profile_change")
SEEN_MS = CONFIG.calendar.start_ms(TODAY - 91) + 1
DUE_MS = CONFIG.calendar.start_ms(TODAY)
# Idle rounds follow each other at most this closely (IDLE_POLL_S), and timers are asked for five times a second.
ROUND_S, BOUND_S = 0.05, 0.3


class Clocks(Simulation):
    """The wall clock may jump, the monotonic one does not."""

    jumped_ms = 0

    def now_ms(self) -> int:
        """The wall clock."""
        return super().now_ms() + self.jumped_ms

    def jump_to(self, at_ms: int) -> None:
        """As NTP or an operator would set it."""
        self.jumped_ms += at_ms - self.now_ms()


def open_worker(claim: Claim, ledger: Ledger) -> LedgerWorker:
    handler = profile.ProfileHandler(claim.slot, ledger, claim.waits, CONFIG, 1, lambda: CUTS, 0)
    return LedgerWorker(claim, ledger, handler)


PROFILE = Service(LoopConfig("profile", "touchpoints.resolved"), 1, open_worker)


@pytest.fixture
def clocks() -> Iterator[Clocks]:
    clocks = Clocks([PROFILE], 1)
    clocks.jump_to(DUE_MS - DAY_MS)
    see(clocks, 1)
    work(clocks, 1.0)
    yield clocks
    clocks.close()


def see(clocks: Clocks, n: int) -> None:
    value = TOUCHPOINT.encode(
        {
            "event_id": f"e{n}", "source": "shop", "type": "track", "name": "Logged In", "identifiers": ["phone:1"],
            "occurred_at": SEEN_MS + n, "received_at": SEEN_MS + n,
        }
    )  # fmt: skip
    headers = {"kind": b"event", "n": b"%d" % n, "src": b"1.0.%d" % n, "node": b"phone:1", "seq": b"0:%d" % n}
    clocks.broker.append(Record("touchpoints.resolved", 0, -1, b"anna", value, headers, 0))


def work(clocks: Clocks, seconds: float) -> None:
    """Rounds for so long."""
    until_s = clocks.passed_s + seconds
    while clocks.passed_s < until_s:
        clocks.round(0)
        clocks.pass_time(ROUND_S)


def told(clocks: Clocks) -> list[dict[str, Any]]:
    """Changes that say anything of at_risk; what a new owner sends again under the same number once, as readers do."""
    sent = {record.headers["seq"]: record.value for record in clocks.broker.logs["profile.changes", 0]}
    changes = [CHANGE.decode(value) for value in sent.values()]
    return [one for one in changes if "at_risk" in [*one["tags_added"], *one["tags_removed"]]]


def test_a_tag_begins_within_the_bound(clocks: Clocks) -> None:
    clocks.jump_to(DUE_MS - 1_000)
    clocks.round(0)
    assert told(clocks) == []
    work(clocks, 1.0 + BOUND_S)
    (begun,) = told(clocks)
    assert DUE_MS <= begun["changed_at"] <= DUE_MS + BOUND_S * 1000


def test_also_when_the_service_was_away_at_that_moment(clocks: Clocks) -> None:
    clocks.jump_to(DUE_MS + 3_600_000)
    clocks.replace(clocks.processes[0])
    restarted_ms = clocks.now_ms()
    work(clocks, BOUND_S)
    (begun,) = told(clocks)
    assert begun["changed_at"] - restarted_ms <= BOUND_S * 1000
    assert begun["tags_added"] == ["at_risk"]


def test_also_when_the_clock_jumps_over_it(clocks: Clocks) -> None:
    clocks.jump_to(DUE_MS + 12 * 3_600_000)
    jumped_ms = clocks.now_ms()
    work(clocks, BOUND_S)
    (begun,) = told(clocks)
    assert begun["changed_at"] - jumped_ms <= BOUND_S * 1000


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("comes", [False, True])
def test_a_clock_that_is_put_back_tells_nothing_twice_and_takes_nothing_back(
    clocks: Clocks, restarts: bool, comes: bool
) -> None:
    clocks.jump_to(DUE_MS)
    work(clocks, BOUND_S)
    clocks.jump_to(DUE_MS - 2_000)
    if restarts:
        clocks.replace(clocks.processes[0])
    if comes:
        see(clocks, 2)
    work(clocks, 5.0)
    assert [one["tags_added"] for one in told(clocks)] == [["at_risk"]]
