"""What the demo remembers on disk (<state>/demo.json), so that an interrupted run goes on where it was.

Of the books only what ingest answered is kept, per batch; the rest follows from the plan, which follows from the seed.
The file is replaced in one step after every answer: a batch that is not in it was perhaps taken, perhaps not, and is
sent again with the same message ids.
"""

from pathlib import Path

import msgspec

FILE = "demo.json"
# identity recognises a repeated message id for 24 hours: an ambiguous batch must come again well within that.
CONTINUE_WITHIN_MS = 20 * 3_600_000

# Refused events of one batch: (place in the batch, code of the reason).
Refusals = list[tuple[int, str]]


class Journal(msgspec.Struct):
    """One run. `answered` has an entry per batch that ingest acknowledged, in order; `base_ms` dates the history.

    `is_done`: reconciled, or beyond hope; there is nothing to go on with. `unanswered` counts requests that had to be
    repeated, `play_s` the seconds spent on playing so far, `restarts` what the supervisor had to start again.
    """

    run: int
    token: str
    seed: int
    events: int
    base_ms: int
    answered: list[Refusals] = []
    is_done: bool = False
    unanswered: int = 0
    play_s: float = 0.0
    parts: int = 1
    restarts: dict[str, int] = {}

    def can_continue(self, now_ms: int) -> bool:
        """Whether something is left to do and the ambiguous batch would still be recognised."""
        return not self.is_done and 0 <= now_ms - self.base_ms < CONTINUE_WITHIN_MS


def load(state_dir: Path) -> Journal | None:
    """The journal of the last run; None when there is none that can be read."""
    try:
        return msgspec.json.decode((state_dir / FILE).read_bytes(), type=Journal)
    except (OSError, msgspec.DecodeError):
        return None


def save(state_dir: Path, journal: Journal) -> None:
    """Replace the file in one step."""
    state_dir.mkdir(parents=True, exist_ok=True)
    fresh = state_dir / f".{FILE}.tmp"
    fresh.write_bytes(msgspec.json.encode(journal))
    fresh.replace(state_dir / FILE)


def new_token(now_ms: int) -> str:
    """The second in base 36: no two runs on one machine have the same."""
    digits, rest = "", now_ms // 1000
    while rest:
        rest, digit = divmod(rest, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits
