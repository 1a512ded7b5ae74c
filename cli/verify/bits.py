"""One bit per offset of a partition: what makes it possible to name a single missing record among a billion."""

from collections.abc import Iterator


class Bits:
    """A set of whole numbers from `first` to `end` - 1; others are neither taken in nor found."""

    __slots__ = ("_bits", "end", "first")

    def __init__(self, first: int, end: int) -> None:
        self.first, self.end = first, max(first, end)
        self._bits = bytearray((self.end - first + 7) // 8)

    def add(self, number: int) -> bool:
        """True when it was not there before; a number outside the range counts as new."""
        place = number - self.first
        if not 0 <= place < self.end - self.first:
            return True
        mask = 1 << (place & 7)
        if self._bits[place >> 3] & mask:
            return False
        self._bits[place >> 3] |= mask
        return True

    def __contains__(self, number: int) -> bool:
        place = number - self.first
        return 0 <= place < self.end - self.first and bool(self._bits[place >> 3] & (1 << (place & 7)))

    def count(self) -> int:
        """How many are in it."""
        return int.from_bytes(self._bits, "little").bit_count()

    def absent(self) -> Iterator[int]:
        """The numbers of the range that are not in it, ascending."""
        for at, byte in enumerate(self._bits):
            if byte != 255:
                for bit in range(8):
                    number = self.first + at * 8 + bit
                    if number < self.end and not byte & (1 << bit):
                        yield number
