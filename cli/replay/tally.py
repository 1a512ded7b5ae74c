"""The books of a replay: what became of every record of the file, with examples of every reason."""

import msgspec

from cli.replay.batches import Batch

MAX_EXAMPLES = 5


class Reason(msgspec.Struct):
    """How many records have it, the first lines, and a text for people where the reason itself is a code."""

    count: int = 0
    lines: list[int] = []
    text: str = ""

    def add(self, line: int, text: str) -> None:
        """One more record."""
        self.count += 1
        if len(self.lines) < MAX_EXAMPLES:
            self.lines.append(line)
        if not self.text:
            self.text = text


Reasons = dict[str, Reason]


class Verdicts(msgspec.Struct):
    """What ingest answered for one batch. refused and remarked: (code, line, text)."""

    accepted: int = 0
    refused: list[tuple[str, int, str]] = []
    remarked: list[tuple[str, int, str]] = []

    def add(self, other: "Verdicts") -> None:
        """Those of another part of the same batch."""
        self.accepted += other.accepted
        self.refused += other.refused
        self.remarked += other.remarked


class Tally(msgspec.Struct):
    """Counts of records. `remarked` are accepted ones of which ingest set something aside."""

    records: int = 0
    accepted: int = 0
    refused: Reasons = {}
    skipped: Reasons = {}
    failed: Reasons = {}
    remarked: Reasons = {}

    def add(self, batch: Batch, verdicts: Verdicts) -> None:
        """A batch whose fate is known."""
        self.records += batch.records
        self.accepted += verdicts.accepted
        for reason, line in batch.skipped:
            _add(self.skipped, reason, line, "")
        for reason, line, shown in batch.failed:
            _add(self.failed, reason, line, f"found {shown!r}" if shown else "")
        for code, line, text in verdicts.refused:
            _add(self.refused, code, line, text)
        for code, line, text in verdicts.remarked:
            _add(self.remarked, code, line, text)

    @property
    def sent(self) -> int:
        """Records that ingest gave a verdict on."""
        return self.accepted + total(self.refused)

    @property
    def is_complete(self) -> bool:
        """Every record is accepted, refused with its bytes kept, or skipped on purpose."""
        return self.records == self.sent + total(self.skipped)


def total(reasons: Reasons) -> int:
    """Records of all reasons together; a record has one."""
    return sum(reason.count for reason in reasons.values())


def _add(reasons: Reasons, key: str, line: int, text: str) -> None:
    reason = reasons.get(key)
    if reason is None:
        reason = reasons[key] = Reason()
    reason.add(line, text)
