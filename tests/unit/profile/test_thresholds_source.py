"""The thresholds in use: whatever ClickHouse answers, profile starts, stays ready and tries again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from services.chassis.clickhouse import Row
from services.chassis.errors import Fatal, Retriable
from services.chassis.health import Health
from services.chassis.testing.waiting import wait_for
from services.profile import adapters, metrics
from services.profile.adapters import ThresholdSource
from services.profile.core.calendar import Calendar
from services.profile.core.state import Thresholds, encode
from services.profile.thresholds import Refresher
from tests.unit.profile.profile_builders import CUTS

MISSING = Fatal("ClickHouse: UNKNOWN_TABLE")
UNREADABLE = msgspec.DecodeError("malformed")
NEWER = msgspec.structs.replace(CUTS, version=CUTS.version + 1)


class Answers:
    """Gives these one after the other, then the last one for ever."""

    def __init__(self, *answers: Thresholds | Exception | None) -> None:
        self.problem: Exception | None = None
        self._answers = list(answers)

    def __call__(self) -> Thresholds | None:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def started(refresh: adapters.Refresh, health: Health) -> Iterator[ThresholdSource]:
    source = ThresholdSource(refresh, 0.01, health)
    source.start()
    try:
        yield source
    finally:
        source.close()


def failures() -> float:
    return float(metrics.THRESHOLDS_FAILED._value.get())


@pytest.mark.parametrize("error", [MISSING, UNREADABLE, Retriable("away")])
def test_a_failure_neither_stops_the_start_nor_the_attempts_after_it(error: Exception) -> None:
    health, before = Health(), failures()
    with started(Answers(error, error, CUTS), health) as source:
        assert health.ready
        wait_for(lambda: source.current() == CUTS, "the next attempt brings them", 5)
    assert failures() == before + 2
    assert health.report()["thresholds"] == {"ok": True, "detail": f"version {CUTS.version}"}


@pytest.mark.parametrize("error", [MISSING, UNREADABLE])
def test_the_last_thresholds_stay_in_use_and_the_process_ready(error: Exception) -> None:
    health = Health()
    with started(Answers(CUTS, error), health) as source:
        wait_for(lambda: "stays in use" in str(health.report().get("thresholds")), "health says so", 5)
        assert (source.current(), health.ready) == (CUTS, True)


def test_thresholds_alone_make_no_process_ready() -> None:
    health = Health()
    with started(Answers(CUTS), health) as source:
        assert (source.current(), health.ready) == (CUTS, False)


def test_the_first_ones_may_never_come() -> None:
    health = Health()
    with started(Answers(MISSING), health) as source:
        assert (source.current(), health.ready) == (None, True)
    assert health.report()["thresholds"]["detail"] == "there are none: scores are 0: ClickHouse: UNKNOWN_TABLE"


def test_a_database_that_hangs_does_not_hold_up_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "FIRST_LOAD_S", 0.01)
    goes_on = threading.Event()

    class Hanging(Answers):
        def __call__(self) -> Thresholds | None:
            goes_on.wait(10)
            return super().__call__()

    with started(Hanging(CUTS), Health()) as source:
        assert source.current() is None
        goes_on.set()
        wait_for(lambda: source.current() == CUTS, "they come later", 5)


def test_the_owner_whose_table_is_missing_uses_what_the_others_share() -> None:
    class Refusing:
        def query_rows(self, sql: str, params: object = None) -> list[Row]:
            raise MISSING

        def insert(self, *args: object) -> int:
            raise MISSING

    class Shared:
        def get(self) -> bytes:
            return encode(NEWER)

        def replace(self, former: bytes | None, value: bytes) -> bool:
            raise AssertionError("nothing was computed")

    refresh = Refresher(Refusing(), Shared(), Calendar("Asia/Shanghai"), lambda: True, lambda: 0)
    assert (refresh(), refresh.problem) == (NEWER, MISSING)
