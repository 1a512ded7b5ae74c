"""How far a ledger has come, kept outside its Redis as well: what a Redis that comes back is held against."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """The position after a batch, and the batch's name `<epoch>.<number>` ('' where it is not known).

    Every batch of a ledger, also one that only time brought about, has a greater name than the one before. `sent`: what
    came of all records before that offset is with the broker (-1: not known); of those up to the position it may be.
    """

    position: int
    batch: str = ""
    sent: int = -1

    @classmethod
    def read(cls, position: int, text: str) -> "Mark":
        """What `text` said."""
        batch, _, sent = text.partition(" ")
        return cls(position, batch, int(sent) if sent.isdigit() else -1)

    @property
    def text(self) -> str:
        """What goes with the position."""
        return f"{self.batch} {self.sent}" if self.sent >= 0 else self.batch

    def is_behind(self, other: "Mark") -> bool:
        """Whether batches are missing here that were there. Without both names only positions can tell."""
        if not other.batch:
            return self.position < other.position
        return _order(self.batch) < _order(other.batch)


def _order(batch: str) -> tuple[int, int]:
    epoch, _, number = batch.partition(".")
    return (int(epoch), int(number)) if epoch.isdigit() and number.isdigit() else (0, 0)
