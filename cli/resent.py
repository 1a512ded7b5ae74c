"""What was sent again already: a line of JSON each, so that nothing goes twice by mistake."""

from pathlib import Path

import msgspec

from deploy.local.settings import local_settings
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal


class Sent(msgspec.Struct):
    """One record that was sent again. outcome: accepted, refused, or produced."""

    id: str
    outcome: str
    at: int


class ResentJournal:
    """Appends before it forgets: a crash between an answer and its line makes one repetition, never a loss."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Sent] = {}
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
            for line in lines:
                sent = msgspec.json.decode(line, type=Sent)
                self._known[sent.id] = sent
        except (OSError, msgspec.DecodeError) as error:
            raise Fatal(f"journal {path} cannot be read: {error}") from error

    def get(self, record_id: str) -> Sent | None:
        """What became of a record when it was sent again; None when it was not."""
        return self._known.get(record_id)

    def add(self, outcomes: dict[str, str]) -> None:
        """Remember outcomes by id."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        now = now_ms()
        with self._path.open("ab") as file:
            for record_id, outcome in outcomes.items():
                sent = self._known[record_id] = Sent(record_id, outcome, now)
                file.write(msgspec.json.encode(sent) + b"\n")


def open_resent() -> ResentJournal:
    """The journal beside the local state."""
    return ResentJournal(local_settings().state_dir / "journals" / "resent.jsonl")
