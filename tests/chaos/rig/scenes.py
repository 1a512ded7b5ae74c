"""Small stories of customers, made from a seed: who sends what, and what has to stay in order. Pure.

A scene is a list of lines. The messages of different lines may go out in any order, at once, in any batch; those of one
line go out one after the other, each only after the one before it was acknowledged. Every message of a line of more
than one has the same primary identifier, so that it keeps its order in the log as well.
"""

from collections.abc import Callable
from itertools import pairwise
from random import Random

from tests.chaos.rig.messages import (
    ERASE,
    EVENT,
    GARBAGE,
    ORDER,
    REFUND,
    REGISTERED,
    UNLINK,
    VIEWED,
    Message,
    ranked,
)

DAY_MS = 86_400_000
# Inside every window that profile counts in, and of `newcomer`: time itself changes nothing while a seed runs.
OLDEST_DAYS = 20
Line = list[Message]


class Author:
    """Writes messages whose ids, identifiers and orders all begin with one prefix; times never repeat."""

    def __init__(self, prefix: str, seed: int, now_ms: int) -> None:
        self.prefix, self.random, self._now_ms, self._count = prefix, Random(seed), now_ms, 0
        self._moments: set[int] = set()

    def name(self, what: str) -> str:
        """A value nobody else has."""
        self._count += 1
        return f"{self.prefix}{what}{self._count}"

    def moment(self) -> int:
        """A time within the last days, in no order."""
        while (ms := self._now_ms - self.random.randrange(60_000, OLDEST_DAYS * DAY_MS)) in self._moments:
            pass
        self._moments.add(ms)
        return ms

    def track(self, name: str, *identifiers: str, amount_minor: int = 0) -> Message:
        """An event; with an amount an order or refund."""
        order = self.name("o") if amount_minor else ""
        return Message(
            self.name("e"), EVENT, "track", name, ranked(identifiers), self.moment(), order, amount_minor
        )  # fmt: skip

    def order(self, *identifiers: str) -> Message:
        """Somebody buys."""
        return self.track(ORDER, *identifiers, amount_minor=self.random.randrange(1, 100_000))

    def identify(self, *identifiers: str) -> Message:
        """Identifiers of one person, said together."""
        city = self.random.choice(("Beijing", "Shanghai", "Chengdu", "Wuhan"))
        return Message(
            self.name("e"), EVENT, "identify", "Identified", ranked(identifiers), self.moment(), city=city
        )  # fmt: skip

    def control(self, what: str, identifier: str) -> Message:
        """Unlink or erase."""
        return Message(self.name("e"), what, what, "", (identifier,), self.moment())

    def garbage(self) -> Message:
        """What no sender should send: ingest has to refuse it and keep it."""
        kinds = (
            {"type": "track", "event": "Nobody"},
            {"type": "dance", "userId": "x"},
            {"type": "track", "event": "", "userId": "x"},
            {"type": "track", "event": "When", "userId": "x", "timestamp": "yesterday"},
            {"type": "track", "event": "Props", "userId": "x", "properties": [1]},
        )
        return Message(self.name("e"), GARBAGE, "", "", (), 0, extra=dict(self.random.choice(kinds)))


def shopper(author: Author) -> list[Line]:
    """A visitor who becomes known, registers, buys and sometimes sends something back."""
    anonymous, user = f"anonymous_id:{author.name('a')}", f"user_id:{author.name('u')}"
    email = f"email:{author.name('m')}@example.com"
    lines = [[author.track(VIEWED, anonymous)] for _ in range(author.random.randrange(1, 4))]
    lines.append([author.identify(user, anonymous)])
    lines.append([author.track(REGISTERED, user, email)])
    lines += [[author.order(user)] for _ in range(author.random.randrange(1, 4))]
    lines += [[author.order(anonymous)] for _ in range(author.random.randrange(0, 2))]
    if author.random.random() < 0.3:
        lines.append([author.track(REFUND, user, amount_minor=author.random.randrange(1, 5_000))])
    return lines


def crossed(author: Author) -> list[Line]:
    """A→B with B→A: two customers, each of whom is said to be the other, at the same time."""
    users = [f"user_id:{author.name('u')}" for _ in range(2)]
    emails = [f"email:{author.name('m')}@example.com" for _ in range(2)]
    lines = [[author.order(user)] for user in users for _ in range(2)]
    lines += [[author.track(REGISTERED, email)] for email in emails]
    lines += [[author.identify(users[i], emails[j])] for i in range(2) for j in range(2)]
    return lines


def chain(author: Author) -> list[Line]:
    """Customers linked one to the next; the links arrive in no order."""
    users = [f"user_id:{author.name('u')}" for _ in range(author.random.randrange(4, 9))]
    lines = [[author.order(user)] for user in users]
    for one, other in pairwise(users):
        between = f"device_id:{author.name('d')}"
        lines += [[author.identify(one, between)], [author.identify(other, between)]]
        if author.random.random() < 0.3:
            lines.append([author.track(REGISTERED, between)])
    return lines


def fan_in(author: Author, width: int = 25) -> list[Line]:
    """Many visitors turn out to be one person."""
    user = f"user_id:{author.name('u')}"
    visitors = [f"anonymous_id:{author.name('a')}" for _ in range(width)]
    lines = [[author.track(VIEWED, visitor)] for visitor in visitors]
    lines += [[author.order(visitor)] for visitor in visitors if author.random.random() < 0.2]
    lines += [[author.identify(user, visitor)] for visitor in visitors]
    return lines


def unlinked(author: Author) -> list[Line]:
    """A hub is taken out of its customer: each side keeps its own events."""
    user = f"user_id:{author.name('u')}"
    sides = [f"device_id:{author.name('d')}" for _ in range(author.random.randrange(2, 5))]
    line = [author.identify(user, side) for side in sides] + [author.order(user), author.track(REGISTERED, user)]
    line += [author.control(UNLINK, user), author.order(user)]
    return [line, *([author.order(side)] for side in sides), *([author.track(VIEWED, side)] for side in sides)]


def erased(author: Author) -> list[Line]:
    """A customer has to be forgotten; what comes later for it counts for nobody."""
    user, side = f"user_id:{author.name('u')}", f"device_id:{author.name('d')}"
    before = [author.identify(user, side), author.order(user), author.track(REGISTERED, user)]
    return [[*before, author.control(ERASE, user), author.order(user), author.track(VIEWED, user)]]


SCENES: dict[str, Callable[[Author], list[Line]]] = {
    "shopper": shopper,
    "crossed": crossed,
    "chain": chain,
    "fan_in": fan_in,
    "fan_in_1000": lambda author: fan_in(author, 1_000),
    "unlinked": unlinked,
    "erased": erased,
}
