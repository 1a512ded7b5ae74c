"""When to send again and when to stop, by channel."""

import pytest

from services.notify.core.model import Outcome, Result, Status
from services.notify.core.retry import (
    HOUR_MS,
    POLICIES,
    SECOND_MS,
    Policy,
    Step,
    after_send,
    backoff_ms,
    before_send,
)
from tests.unit.notify.notify_builders import busy, ok

WEBHOOK, EMAIL, WECOM, APPRISE = (POLICIES[name] for name in ("webhook", "email", "wecom", "apprise"))
LOST = Outcome(Result.AMBIGUOUS, "ReadTimeout")


def test_the_pause_doubles_up_to_the_longest_and_is_spread_over_its_whole_length() -> None:
    policy = Policy(1_000, 10_000, HOUR_MS, 100, 0)
    assert [backoff_ms(policy, n, 0.999999) for n in (1, 2, 3, 4, 5, 100)] == [999, 1999, 3999, 7999, 9999, 9999]
    assert backoff_ms(policy, 3, 0.0) == 0


def test_a_transient_failure_is_put_off_and_a_permanent_one_ends_it() -> None:
    assert after_send(WEBHOOK, busy(), 1, False, 0, 0, 0.5) == Step(None, SECOND_MS, "HTTP 503")
    refused = Outcome(Result.PERMANENT, "HTTP 400")
    assert after_send(WEBHOOK, refused, 1, False, 0, 0, 0.5) == Step(Status.FAILED, error="HTTP 400")
    assert after_send(WEBHOOK, ok(), 3, False, 0, 0, 0.5) == Step(Status.DELIVERED)


def test_a_provider_that_names_a_time_is_not_asked_earlier() -> None:
    assert after_send(WEBHOOK, busy(90_000), 1, False, 0, 0, 0.0).delay_ms == 90_000
    assert after_send(WEBHOOK, busy(1), 20, False, 0, 0, 0.9).delay_ms > HOUR_MS / 2


@pytest.mark.parametrize("policy", [WEBHOOK, EMAIL])
def test_a_lost_answer_is_asked_for_again_where_the_receiver_knows_the_id(policy: Policy) -> None:
    assert after_send(policy, LOST, 1, False, 0, 0, 0.5).status is None
    assert before_send(policy, 1, True, 5 * HOUR_MS, 5 * HOUR_MS) is None


def test_a_lost_answer_of_a_chat_is_reported_as_unknown_and_not_sent_again() -> None:
    assert after_send(APPRISE, LOST, 1, False, 0, 0, 0.5) == Step(Status.UNKNOWN, error="ReadTimeout")
    step = before_send(APPRISE, 1, True, 0, 0)
    assert step is not None
    assert step.status is Status.UNKNOWN


def test_wecom_is_sent_again_only_inside_its_duplicate_check() -> None:
    inside, outside = 1_799 * SECOND_MS, 1_800 * SECOND_MS
    assert before_send(WECOM, 1, True, inside, inside) is None
    step = before_send(WECOM, 1, True, outside, outside)
    assert step is not None
    assert step.status is Status.UNKNOWN
    assert after_send(WECOM, LOST, 1, False, outside, outside, 0.5).status is Status.UNKNOWN


def test_it_gives_up_after_hours_or_too_many_attempts() -> None:
    assert after_send(WEBHOOK, busy(), 3, False, 24 * HOUR_MS, 0, 0.1).status is Status.FAILED
    assert after_send(WEBHOOK, busy(), WEBHOOK.max_attempts, False, 0, 0, 0.1).status is Status.FAILED
    step = before_send(WEBHOOK, 4, False, 24 * HOUR_MS, 0)
    assert step == Step(Status.FAILED, error="gave up after 4 attempts")


def test_a_retry_after_beyond_the_horizon_ends_it_now() -> None:
    assert after_send(WECOM, busy(7 * HOUR_MS), 1, False, 0, 0, 0.5).status is Status.FAILED


def test_giving_up_on_an_unknown_acceptance_is_reported_as_unknown() -> None:
    assert after_send(WEBHOOK, LOST, 3, False, 24 * HOUR_MS, 0, 0.1).status is Status.UNKNOWN
    step = before_send(WEBHOOK, 4, True, 24 * HOUR_MS, 0)
    assert step is not None
    assert step.status is Status.UNKNOWN


def test_a_doubt_is_never_forgotten_a_later_refusal_does_not_make_a_late_repeat_safe() -> None:
    late = 1_900 * SECOND_MS
    assert after_send(WECOM, busy(), 2, True, 0, 0, 0.5).status is None
    step = before_send(WECOM, 2, True, late, late)
    assert step is not None
    assert step.status is Status.UNKNOWN
    assert after_send(WEBHOOK, busy(), 3, True, 24 * HOUR_MS, 0, 0.5).status is Status.UNKNOWN
