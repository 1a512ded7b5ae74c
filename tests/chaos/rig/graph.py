"""Who is one customer: the oracle's own graph, from what senders sent and what is in. Pure, no product code."""

from collections.abc import Iterable
from hashlib import blake2b

from tests.chaos.rig.messages import ERASE, EVENT, UNLINK, Message

# The deployment's default secret: the contract of what is stored, not of the code that stores it.
KEY = b"touchstream-local"


def node_text(identifier: str) -> str:
    """`kind:value` → the node that stands for it in topics and tables."""
    kind, _, value = identifier.partition(":")
    return f"{kind}:" + blake2b(value.encode(), digest_size=16, key=KEY, person=kind.encode()).hexdigest()


class Graph:
    """Identifiers and their links. Events may be added in any order, lines with unlink or erase in theirs."""

    def __init__(self) -> None:
        self._links: dict[str, set[str]] = {}
        self.erased: set[str] = set()
        self.dropped: set[str] = set()  # event ids that came after their customer was erased

    def add(self, message: Message) -> None:
        """One message that is in."""
        if message.what == EVENT:
            self._event(message)
        elif message.what == UNLINK:
            self._unlink(message.primary)
        elif message.what == ERASE:
            self._erase(message.primary)

    def customers(self) -> list[frozenset[str]]:
        """The identifiers of every customer there is now."""
        left, found = set(self._links) - self.erased, []
        while left:
            one = self._component(next(iter(left)))
            left -= one
            found.append(frozenset(one))
        return found

    def _event(self, message: Message) -> None:
        if message.primary in self.erased:
            self.dropped.add(message.event_id)
            return
        for identifier in message.identifiers:
            if identifier not in self.erased:
                self._links.setdefault(identifier, set())
                if identifier != message.primary:
                    self._links[identifier].add(message.primary)
                    self._links[message.primary].add(identifier)

    def _unlink(self, identifier: str) -> None:
        for other in self._links.get(identifier, set()):
            self._links[other].discard(identifier)
        if identifier in self._links:
            self._links[identifier] = set()

    def _erase(self, identifier: str) -> None:
        gone = self._component(identifier)
        self.erased |= gone
        for one in gone:
            self._links.pop(one, None)

    def _component(self, start: str) -> set[str]:
        found, left = {start}, [start]
        while left:
            fresh = self._links.get(left.pop(), set()) - found
            found |= fresh
            left += fresh
        return found


def graph_of(free: Iterable[Message], lines: Iterable[Iterable[Message]]) -> Graph:
    """The graph of everything that is in."""
    graph = Graph()
    for message in free:
        graph.add(message)
    for line in lines:
        for message in line:
            graph.add(message)
    return graph
