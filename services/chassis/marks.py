"""How far a ledger has come, kept outside its Redis as well: what a Redis that comes back is held against."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """The position after a batch, and the batch's name `<epoch>.<number>` ('' where it is not known).

    Every batch of a ledger, also one that only time brought about, has a greater name than the one before.
    """

    position: int
    batch: str = ""

    def is_behind(self, other: "Mark") -> bool:
        """Whether batches are missing here that were there. Without both names only positions can tell."""
        if not other.batch:
            return self.position < other.position
        return _order(self.batch) < _order(other.batch)


def _order(batch: str) -> tuple[int, int]:
    epoch, _, number = batch.partition(".")
    return (int(epoch), int(number)) if epoch.isdigit() and number.isdigit() else (0, 0)
