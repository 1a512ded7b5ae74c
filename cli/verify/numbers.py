"""Two counts that must have no holes: the relay's numbers of each channel, and the numbers of each customer's log."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from cli.verify.model import Names
from services.chassis.records import Record
from services.chassis.redis.claim import Verdict, accept, number_of

# Where the beginning of a log is gone, records of the first minutes may have had companions that are gone with it:
# writers of different partitions were not equally fast. Lower could call that a hole, higher leaves more unjudged.
GRACE_MS = 600_000
LOST = (
    "an acknowledged record is not in the log: services/chassis/README.md, When records are missing (and the runbook of"
    " TouchstreamGap)"
)


@dataclass(slots=True)
class Channel:
    """The relay's numbers of one partition of a topic, by source partition; works like every reader of ours."""

    topic: str
    partition: int
    is_whole: bool  # the log still has its beginning
    seen: dict[str, int] = field(default_factory=dict)
    records: int = 0
    repeats: int = 0
    first_log_ms: int = 0
    holes: Names = field(default_factory=lambda: Names("numbers of the relay missing in a topic", LOST))

    def takes(self, record: Record) -> bool:
        """Whether a reader takes this record; what is there again after a crash of its writer is dropped by all."""
        self.first_log_ms = min(record.log_ms, self.first_log_ms or record.log_ms)
        found = number_of(record)
        if found is not None and found[0] not in self.seen and not self.is_whole:
            self.seen[found[0]] = found[1] - 1
        verdict = accept(self.seen, record)
        if verdict is Verdict.DUPLICATE:
            self.repeats += 1
            return False
        if verdict is Verdict.GAP and found is not None:
            source, number = found
            self._hole(source, self.seen.get(source, 0) + 1, number - 1, f"before offset {record.offset}")
            self.seen[source] = number
        self.records += 1
        return True

    def must_reach(self, source: str, number: int) -> None:
        """The ledger of a source says that the broker has acknowledged everything up to `number`."""
        last = self.seen.get(source, 0)
        if last < number and (self.is_whole or source in self.seen):
            self._hole(source, last + 1, number, "acknowledged, and not at the end of the partition")

    def _hole(self, source: str, low: int, high: int, where: str) -> None:
        numbers = f"{low}" if low == high else f"{low} to {high}"
        self.holes.add(f"{self.topic}/{self.partition}: {source}:{numbers} {where}", high - low + 1)


class Beginning(Enum):
    """What the log of a partition begins with."""

    ALL = 1  # every customer's number 1
    MOVED = 2  # whatever came after a `touchstream rebase`: of each customer some number, nothing of it is missing
    CUT = 3  # whatever retention has left


@dataclass(slots=True)
class CustomerNumbers:
    """Numbers of the customers of one partition: each once, none left out, in whatever order they stand in the log."""

    beginning: Beginning
    last: dict[bytes, int] = field(default_factory=dict)  # from the first number to here it is complete
    ahead: dict[bytes, dict[int, bool]] = field(default_factory=dict)  # beyond a hole: number → below the cut
    first: dict[bytes, tuple[int, bool]] = field(default_factory=dict)  # unless ALL; 0: unknown, not judged
    behind: dict[bytes, set[int]] = field(default_factory=dict)  # below a hole below `first`
    first_log_ms: int = 0

    def add(self, customer: bytes, n: int, is_below_cut: bool, log_ms: int) -> bool:
        """Take in record n of a customer; False when that number was there before."""
        last = self.last.get(customer, 0)
        if self.beginning is not Beginning.ALL:
            self.first_log_ms = self.first_log_ms or log_ms
            if self.beginning is Beginning.CUT and log_ms < self.first_log_ms + GRACE_MS:
                self.last[customer], self.first[customer] = max(n, last), (0, False)
                return True
            if customer not in self.first:
                self.last[customer], self.first[customer] = n, (n, is_below_cut)
                return True
            first = self.first[customer][0]
            if n < first:
                return self._before(customer, n)
            if not first and n <= last:
                return True
        if n == last + 1:
            self.last[customer] = n
            if customer in self.ahead:
                self._absorb(customer, n)
            return True
        if n <= last or n in self.ahead.get(customer, ()):
            return False
        self.ahead.setdefault(customer, {})[n] = is_below_cut
        return True

    def _before(self, customer: bytes, n: int) -> bool:
        behind = self.behind.setdefault(customer, set())
        if n in behind:
            return False
        behind.add(n)
        first, is_below_cut = self.first[customer]
        while first - 1 in behind:
            first -= 1
            behind.remove(first)
        self.first[customer] = first, is_below_cut
        if not behind:
            del self.behind[customer]
        return True

    def _absorb(self, customer: bytes, n: int) -> None:
        ahead = self.ahead[customer]
        while n + 1 in ahead:
            n += 1
            del ahead[n]
        self.last[customer] = n
        if not ahead:
            del self.ahead[customer]

    def holes(self) -> Mapping[bytes, tuple[int, int]]:
        """Customer → first and last missing number of one hole, where something after it was decided before the cut:
        identity numbers a customer's records in order, so what is missing was decided too.
        """
        found = {}
        for customer, behind in self.behind.items():
            first, is_below_cut = self.first[customer]
            if is_below_cut:
                found[customer] = (max(behind) + 1, first - 1)
        for customer, ahead in self.ahead.items():
            if any(ahead.values()):
                found[customer] = (self.last.get(customer, 0) + 1, min(ahead) - 1)
        return found


def counted(name: Callable[[int], str], missing: Names, low: int, high: int) -> None:
    """Add numbers low to high, each under its name as long as names are kept."""
    for number in range(low, min(high, low + 5) + 1):
        missing.add(name(number))
    missing.count += max(0, high - low - 5)
