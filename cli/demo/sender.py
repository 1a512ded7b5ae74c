"""Sends batches to ingest until each has an answer. What is counted as sent is what ingest answered, nothing else.

No answer (ingest died, was stopped or is overloaded) leads to the same bytes under the same message ids again: whether
the first copy was stored nobody knows, and nobody needs to, because repetitions are dropped behind ingest.
"""

from collections.abc import Callable
from threading import Event

import httpx

from cli.demo.journal import Refusals
from cli.demo.plan import ENDPOINTS, KEYS, Batch

# ingest answers 503 after 10 s without the broker; longer than that it is dead.
ANSWER_TIMEOUT_S = 15.0
PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
# A killed ingest is back within seconds. Longer without any answer, and the demo should say so rather than wait.
PATIENCE_S = 60.0
RETRY_STATUSES = frozenset((408, 429, 500, 502, 503, 504))


class Interrupted(Exception):  # noqa: N818 - an outcome, not a fault
    """Ctrl-C, or the stack is ending."""


class DemoError(Exception):
    """The play cannot go on; the text says what happened and what to do."""


class Sender:
    """One connection to ingest; used by one thread."""

    def __init__(self, url: str, stop: Event, is_alive: Callable[[], bool], clock: Callable[[], int]) -> None:
        """`is_alive`: whether the stack still runs, asked when there is no answer."""
        # A proxy of the environment has no business between two programs of one machine.
        self._client = httpx.Client(base_url=url, timeout=ANSWER_TIMEOUT_S, trust_env=False)
        self._stop, self._is_alive, self._clock = stop, is_alive, clock
        self.unanswered = 0

    def send(self, batch: Batch, base_ms: int) -> Refusals:
        """Send until there is an answer; the events that were refused.

        Raises Interrupted, after which it is unknown whether the batch was taken; DemoError when ingest's answer makes
        no sense, refuses the request as such, or does not come for a minute.
        """
        body = batch.body(self._clock(), base_ms)
        pause_s, waited_s = PAUSE_S, 0.0
        while True:
            if self._stop.is_set():
                raise Interrupted
            try:
                answer = self._client.post(ENDPOINTS[batch.channel], content=body, auth=(KEYS[batch.channel], ""))
            except httpx.TransportError as error:
                problem, retry_s = f"{type(error).__name__}: {error}", pause_s
            else:
                if answer.status_code not in RETRY_STATUSES:
                    return _refusals(answer, len(batch.events))
                problem = f"{answer.status_code} {answer.text[:200]}"
                retry_s = float(answer.headers.get("Retry-After") or pause_s)
            self.unanswered += 1
            if not self._is_alive():
                raise DemoError(f"the stack is gone ({problem})")
            if waited_s > PATIENCE_S:
                raise DemoError(f"ingest has not answered for {PATIENCE_S:.0f} s ({problem}); its log says why")
            self._stop.wait(retry_s)
            waited_s += retry_s
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _refusals(answer: httpx.Response, events: int) -> Refusals:
    """The verdicts of a 200, or of a 400 that refuses every event. Raises DemoError for anything else."""
    try:
        said = answer.json()
        refused = [(one["index"], one["errors"][0]["rule"]) for one in said["events"] if not one["accepted"]]
        agrees = said["rejected"] == len(refused) and said["accepted"] + said["rejected"] == events
    except (ValueError, KeyError, IndexError, TypeError):
        agrees, refused = False, []
    if answer.status_code not in (200, 400) or not agrees:
        raise DemoError(
            f"ingest answered {answer.status_code} to a batch of {events}, which is no verdict on its events:"
            f" {answer.text[:300]}"
        )
    return refused
