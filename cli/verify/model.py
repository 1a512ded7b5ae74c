"""What a hop has to say: what was compared, what came out, and every difference with names and a way out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

# Named for each difference; the rest is counted.
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as it must be: how often, which (the first few), and what an operator does about it."""

    what: str
    count: int
    examples: tuple[str, ...]
    todo: str


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. `waiting`: what is still on its way and therefore not judged."""

    hop: str
    what: str
    expected: int
    got: int
    waiting: int = 0
    note: str = ""
    differences: tuple[Difference, ...] = ()


@dataclass(slots=True)
class Names:
    """Counts everything, keeps the first few by name."""

    what: str
    todo: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, name: str, count: int = 1) -> None:
        """One more of them (or `count`, that go by one name)."""
        self.count += count
        if len(self.examples) < EXAMPLES:
            self.examples.append(name)

    def differences(self) -> tuple[Difference, ...]:
        """None when nothing was added."""
        return (Difference(self.what, self.count, tuple(self.examples), self.todo),) if self.count else ()


def differences(several: Sequence[Names]) -> tuple[Difference, ...]:
    """Those of all of them, in order."""
    return tuple(difference for names in several for difference in names.differences())
