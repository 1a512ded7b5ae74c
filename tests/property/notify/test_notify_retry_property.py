"""Retry and breaker hold for every history, not only for the ones we thought of."""

from hypothesis import given
from hypothesis import strategies as st

from services.notify.core.breaker import Breaker, Rules, State, abandoned, begun, failed, permitted, state_of, succeeded
from services.notify.core.model import Outcome, Result, Status
from services.notify.core.retry import ALWAYS, POLICIES, after_send, backoff_ms, before_send

policies = st.sampled_from(sorted(POLICIES)).map(lambda name: POLICIES[name])
ages = st.integers(0, 100 * 3_600_000)
randoms = st.floats(0, 1, exclude_max=True)
outcomes = st.builds(
    Outcome, st.sampled_from(Result), st.text(max_size=9), st.just(""), st.integers(0, 100 * 3_600_000)
)


@given(policies, st.integers(1, 10_000), randoms)
def test_the_pause_stays_between_nothing_and_the_longest(policy, attempts, random01):  # type: ignore[no-untyped-def]
    assert 0 <= backoff_ms(policy, attempts, random01) <= policy.longest_ms


@given(policies, outcomes, st.integers(1, 10_000), st.booleans(), ages, ages, randoms)
def test_every_outcome_leads_to_one_end_or_to_a_pause_within_the_horizon(  # type: ignore[no-untyped-def]
    policy, outcome, attempts, was_doubtful, age_ms, since_ms, random01
):
    step = after_send(policy, outcome, attempts, was_doubtful, age_ms, since_ms, random01)
    if step.status is None:
        assert outcome.result in (Result.TRANSIENT, Result.AMBIGUOUS)
        assert step.delay_ms >= outcome.retry_after_ms
        assert age_ms + step.delay_ms < policy.give_up_after_ms
    assert (step.status is Status.DELIVERED) == (outcome.result is Result.DELIVERED)
    if step.status is Status.UNKNOWN:
        assert outcome.result is Result.AMBIGUOUS or was_doubtful
    if outcome.result is Result.AMBIGUOUS:
        assert step.status is not Status.FAILED


@given(policies, st.lists(st.tuples(outcomes, randoms, st.booleans()), max_size=400))
def test_every_delivery_ends_and_after_a_doubt_nothing_is_sent_that_the_receiver_cannot_tell(policy, history):  # type: ignore[no-untyped-def]
    """A whole life: sends, some of which crash before their outcome is marked, until an end."""
    now_ms, first_ms, attempts, is_doubtful, ended = 0, None, 0, False, None
    for outcome, random01, crashes in history:
        since_ms = 0 if first_ms is None else now_ms - first_ms
        step = before_send(policy, attempts, is_doubtful, now_ms, since_ms)
        if step is None:
            if is_doubtful:
                assert policy.resend_window_ms == ALWAYS or since_ms < policy.resend_window_ms
            first_ms = now_ms if first_ms is None else first_ms
            attempts += 1
            if crashes:
                is_doubtful = True
                now_ms += 15_000
                continue
            step = after_send(policy, outcome, attempts, is_doubtful, now_ms, now_ms - first_ms, random01)
            is_doubtful = is_doubtful or outcome.result is Result.AMBIGUOUS
        if step.status is not None:
            ended = step.status
            break
        now_ms += max(step.delay_ms, 1)
    assert attempts <= policy.max_attempts
    assert ended is not None or now_ms < policy.give_up_after_ms + 15_000


class _Naive:
    """The breaker as prose: a list of what happened."""

    def __init__(self, rules: Rules) -> None:
        self.rules, self.row, self.trips, self.until, self.probing = rules, 0, 0, None, False

    def permits(self, wanted: int, now: int) -> int:
        if self.until is None:
            return wanted
        return 0 if now < self.until or self.probing else min(wanted, 1)

    def fail(self, now: int) -> None:
        if self.until is not None and now < self.until:
            return
        self.row += 1
        if self.until is not None or self.row >= self.rules.threshold:
            pause = min(self.rules.longest_ms, self.rules.first_ms * 2**self.trips)
            self.trips, self.until, self.probing = self.trips + 1, now + pause, False


@given(st.lists(st.tuples(st.sampled_from(["begin", "ok", "fail", "drop"]), st.integers(0, 3_000)), max_size=60))
def test_the_breaker_agrees_with_a_naive_one(history):  # type: ignore[no-untyped-def]
    rules = Rules(threshold=3, first_ms=1_000, longest_ms=6_000)
    breaker, naive, now = Breaker(), _Naive(rules), 1
    for what, passed in history:
        now += passed
        if what == "begin":
            naive.probing = naive.probing or (naive.until is not None and now >= naive.until)
            breaker = begun(breaker, now)
        elif what == "ok":
            naive = _Naive(rules)
            breaker = succeeded(breaker)
        elif what == "drop":
            naive.probing = False
            breaker = abandoned(breaker)
        else:
            naive.fail(now)
            breaker = failed(breaker, rules, now)
        assert permitted(breaker, 8, now) == naive.permits(8, now)
        assert (state_of(breaker, now) is State.CLOSED) == (naive.until is None)
