"""The circuit breaker of a destination."""

from services.notify.core.breaker import Breaker, Rules, State, abandoned, begun, failed, permitted, state_of, succeeded

RULES = Rules(threshold=3, first_ms=1_000, longest_ms=5_000)


def opened(at_ms: int = 0, times: int = 3) -> Breaker:
    breaker = Breaker()
    for _ in range(times):
        breaker = failed(breaker, RULES, at_ms)
    return breaker


def test_it_opens_after_failures_in_a_row_and_a_success_between_them_forgets() -> None:
    assert state_of(opened(times=2), 0) is State.CLOSED
    assert state_of(opened(times=3), 0) is State.OPEN
    breaker = failed(failed(succeeded(opened(times=2)), RULES, 0), RULES, 0)
    assert permitted(breaker, 8, 0) == 8


def test_open_permits_nothing_then_one_probe() -> None:
    breaker = opened()
    assert permitted(breaker, 8, 999) == 0
    assert permitted(breaker, 8, 1_000) == 1
    assert permitted(begun(breaker, 1_000), 8, 1_001) == 0
    assert permitted(abandoned(begun(breaker, 1_000)), 8, 1_001) == 1


def test_a_probe_that_fails_doubles_the_pause_up_to_the_longest_and_one_that_succeeds_closes() -> None:
    breaker, now_ms, pauses = opened(), 0, []
    for _ in range(5):
        pauses.append(breaker.open_until_ms - now_ms)
        now_ms = breaker.open_until_ms
        breaker = failed(begun(breaker, now_ms), RULES, now_ms)
    assert pauses == [1_000, 2_000, 4_000, 5_000, 5_000]
    assert succeeded(breaker) == Breaker()


def test_late_failures_of_sends_begun_before_it_opened_change_nothing() -> None:
    breaker = opened()
    assert failed(breaker, RULES, 500) == breaker
