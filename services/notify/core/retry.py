"""When to send again and when to stop: exponential back-off with full jitter, per channel, within a horizon of hours.

Pure: the random number, the attempts and all ages are arguments. Sources: Brooker, "Exponential Backoff And Jitter"
(full jitter spreads a thundering herd best); Standard Webhooks (retry over many hours, honour Retry-After).
"""

from dataclasses import dataclass

from services.notify.core.model import Outcome, Result, Status

SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000
ALWAYS = -1


@dataclass(frozen=True, slots=True)
class Policy:
    """How a channel is retried.

    `resend_window_ms` says what an unknown acceptance (a crash or a lost answer between the provider's acceptance and
    our mark) leads to: within the window the same bytes with the same id are sent again, after it the delivery ends as
    `unknown`. ALWAYS = the receiver recognises the id for ever, 0 = it never does.
    """

    first_ms: int
    longest_ms: int
    give_up_after_ms: int
    max_attempts: int
    resend_window_ms: int


# first_ms lower: a provider that is restarting is hit again before it is back; higher: a hiccup costs people minutes.
# longest_ms bounds how long after a provider's return the last message may still wait.
POLICIES: dict[str, Policy] = {
    # The receiver drops what it has seen by webhook-id.
    "webhook": Policy(2 * SECOND_MS, HOUR_MS, 24 * HOUR_MS, 60, ALWAYS),
    # Same Message-ID: mail servers and clients fold the copy into the first.
    "email": Policy(5 * SECOND_MS, HOUR_MS, 24 * HOUR_MS, 60, ALWAYS),
    # WeCom drops an identical message inside its duplicate check (1,800 s by default), not later. An alert to a group
    # that is six hours old helps nobody.
    "wecom": Policy(2 * SECOND_MS, 10 * MINUTE_MS, 6 * HOUR_MS, 200, 1_800 * SECOND_MS),
    # SMS and chats behind Apprise know no id: twice is worse than honestly unknown.
    "apprise": Policy(5 * SECOND_MS, 30 * MINUTE_MS, 6 * HOUR_MS, 12, 0),
    # In this very process; it recognises delivery ids.
    "sink": Policy(200, 5 * SECOND_MS, 24 * HOUR_MS, 100_000, ALWAYS),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What follows: end with `status`, or (status None) look again after `delay_ms`."""

    status: Status | None
    delay_ms: int = 0
    error: str = ""


def backoff_ms(policy: Policy, attempts: int, random01: float) -> int:
    """Full jitter: uniformly 0 … min(longest, first · 2^(attempts-1)) for the attempts made so far (≥ 1)."""
    # 2^40 · 1 ms is 35 years: the exponent is clamped so that the power stays small.
    ceiling = min(policy.longest_ms, policy.first_ms * 2 ** min(attempts - 1, 40))
    return int(ceiling * random01)


def before_send(policy: Policy, attempts: int, is_doubtful: bool, age_ms: int, since_first_ms: int) -> Step | None:
    """What must happen instead of sending, or None: send.

    `attempts` are sends begun earlier, `age_ms` counts from planning, `since_first_ms` from the first send.
    `is_doubtful`: an earlier send may have been accepted (its answer was lost, or the process died before marking it).
    """
    if is_doubtful and not _may_resend(policy, since_first_ms):
        return Step(
            Status.UNKNOWN, error="an earlier send may have been accepted; sending again could reach people twice"
        )
    if attempts >= policy.max_attempts or age_ms >= policy.give_up_after_ms:
        status = Status.UNKNOWN if is_doubtful else Status.FAILED
        return Step(status, error=f"gave up after {attempts} attempts")
    return None


def after_send(
    policy: Policy,
    outcome: Outcome,
    attempts: int,
    was_doubtful: bool,
    age_ms: int,
    since_first_ms: int,
    random01: float,
) -> Step:
    """What follows a send. `attempts` includes it; `was_doubtful` as in before_send; random01 in [0, 1)."""
    if outcome.result is Result.DELIVERED:
        return Step(Status.DELIVERED)
    if outcome.result is Result.PERMANENT:
        return Step(Status.FAILED, error=outcome.error)
    ambiguous = outcome.result is Result.AMBIGUOUS
    if ambiguous and not _may_resend(policy, since_first_ms):
        return Step(Status.UNKNOWN, error=outcome.error)
    delay_ms = max(backoff_ms(policy, attempts, random01), outcome.retry_after_ms)
    if attempts >= policy.max_attempts or age_ms + delay_ms >= policy.give_up_after_ms:
        return Step(Status.UNKNOWN if ambiguous or was_doubtful else Status.FAILED, error=outcome.error)
    return Step(None, delay_ms, outcome.error)


def _may_resend(policy: Policy, since_first_ms: int) -> bool:
    return policy.resend_window_ms == ALWAYS or since_first_ms < policy.resend_window_ms
