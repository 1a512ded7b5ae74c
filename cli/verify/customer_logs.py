"""Hop 2: what identity wrote: numbers of every customer's log, and g of the graph's changes; no holes, no doubles."""

from cli.verify.bits import Bits
from cli.verify.cut import IDENTITY_CHANGES, Cut
from cli.verify.model import Check, Names, differences
from cli.verify.numbers import LOST, Beginning, CustomerNumbers, counted
from services.chassis.records import Record

TWICE = "numbered twice: keep Redis and the topic as they are and report it; readers drop the second one"


class CustomerLogs:
    """The customers' logs, a partition at a time: one entry per customer of the partition is held in memory."""

    def __init__(self) -> None:
        self.records = self.operations = self.customers = 0
        self.holes = Names("numbers missing in customers' logs", LOST)
        self.doubles = Names("numbers that stand in a customer's log twice", TWICE)

    def begin(self, beginning: Beginning) -> None:
        """The next partition."""
        self._numbers = CustomerNumbers(beginning)

    def see(self, record: Record, is_below_cut: bool) -> None:
        """A record of touchpoints.resolved."""
        self.records += 1
        self.operations += record.headers.get("kind") != b"event"
        try:
            customer, n = bytes.fromhex(record.key.decode().replace("-", "")), int(record.headers["n"])
        except (KeyError, ValueError):
            return  # not identity's: profile makes a dead letter of it
        if not self._numbers.add(customer, n, is_below_cut, record.log_ms):
            self.doubles.add(f"{record.key.decode()} number {n}, again at {record.partition} offset {record.offset}")

    def end(self) -> None:
        """The partition was read."""
        self.customers += len(self._numbers.last.keys() | self._numbers.ahead.keys())
        for customer, (low, high) in self._numbers.holes().items():
            counted(lambda n, raw=customer: f"{_text(raw)} number {n}", self.holes, low, high)  # type: ignore[misc]

    def check(self) -> Check:
        """The line of this hop."""
        missing = self.holes.count
        return Check(
            "identity → touchpoints.resolved", "every customer's numbers, none left out, none twice",
            self.records + missing - self.doubles.count, self.records - self.doubles.count, 0,
            f"{self.customers:,} customers, {self.operations:,} hand-overs and ends",
            differences([self.holes, self.doubles]),
        )  # fmt: skip


class GraphChanges:
    """The numbers g of identity.changes, across all partitions."""

    def __init__(self, cut: Cut) -> None:
        self._last = cut.graph_changes
        self._beginnings = {cut.beginning(IDENTITY_CHANGES, p) for p in cut.partitions(IDENTITY_CHANGES)}
        self._bits = Bits(1, self._last + 1)
        self._firsts: dict[int, int] = {}  # partition → g of its first record
        self._lowest = 0
        self.records = 0
        self.doubles = Names("changes of the graph that stand in identity.changes twice", TWICE)

    def see(self, record: Record, g: int) -> None:
        """A change; those that were decided after the cut are not counted."""
        if g > self._last:
            return
        self.records += 1
        self._lowest = min(g, self._lowest or g)
        self._firsts.setdefault(record.partition, g)
        if not self._bits.add(g):
            self.doubles.add(f"g {g}, again at {record.topic}/{record.partition} offset {record.offset}")

    def check(self) -> Check:
        """The line of this hop."""
        missing = Names("changes of the graph that are not in identity.changes", LOST)
        begin = self._begin()
        if begin <= self._last:
            for g in self._bits.absent():
                if g >= begin:
                    missing.add(f"g {g}")
        expected = max(0, self._last - begin + 1)
        return Check(
            "identity → identity.changes", "numbers of the graph's changes", expected, expected - missing.count, 0,
            "" if begin == 1 else f"from g {begin} on: what was before is no longer in the log",
            differences([missing, self.doubles]),
        )  # fmt: skip

    def _begin(self) -> int:
        """The first g that must be there."""
        if self._beginnings <= {Beginning.ALL}:
            return 1
        if Beginning.CUT in self._beginnings:  # of each partition another part is gone
            return max(self._firsts.values(), default=self._last + 1)
        return self._lowest or self._last + 1


def _text(raw: bytes) -> str:
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
