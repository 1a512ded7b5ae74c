"""The identity graph as one slow machine: one touchpoint at a time, nothing incremental but the list of links.

Who belongs together is what the accepted links connect, searched anew each time. Written apart from resolve.lua; only
the rules are the same: totals order, limits, tombstones, numbers. Identifiers are `kind:value` texts.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """What guards a customer. per_kind: values of a kind it may have; known: kinds that name a person."""

    per_kind: Mapping[str, int] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    max_size: int = 1_000
    window_ms: int = 10**12
    bucket_ms: int = 10**9


@dataclass(frozen=True)
class Touch:
    """One touchpoint. kind: event, unlink, erase, link, refuse or poison; place: (partition, offset).

    Of an unlink: is_pair, only the link between the first two identifiers; founder, the identifier that founded the
    customer for the first time whom it is asked of.
    """

    kind: str
    ids: tuple[str, ...]
    message: str
    place: tuple[int, int]
    log_ms: int = 0
    is_public: bool = False
    is_pair: bool = False
    founder: str = ""


@dataclass(frozen=True)
class LogItem:
    """A record of a customer's log. k: which hand-over of its touchpoint; pieces of a give: (k, to, nodes or all)."""

    kind: str
    customer: str
    n: int
    touch: Touch
    k: int = 0
    giver: str = ""
    pieces: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """A change of the graph, as identity.changes tells it; g is its number."""

    what: str
    g: int
    customer: str
    other: str
    k: int
    nodes: tuple[str, ...]
    reason: str
    touch: Touch


@dataclass
class Customer:
    """Its id, when it was founded, the last number of its log, its identifiers in the order in which they joined."""

    id: str
    age: int
    n: int = 0
    ids: list[str] = field(default_factory=list)


class NaiveGraph:
    """`step` decides one touchpoint; `log` and `changes` hold everything decided so far."""

    def __init__(self, limits: Limits, name_customer: Callable[[str, int], str]) -> None:
        """name_customer: (founding identifier, how often it founded one before) → customer id."""
        self.limits, self.name_customer = limits, name_customer
        self.home: dict[str, Customer] = {}
        self.links: list[tuple[str, str]] = []
        self.tombs: set[str] = set()
        self.births: dict[str, int] = {}
        self.seen: dict[str, list[int]] = {}
        self.born: set[str] = set()
        self.log: list[LogItem] = []
        self.changes: list[Change] = []
        self.poisoned: list[Touch] = []
        self.duplicates = self.dropped = 0
        self.checks_links = True  # slow: every customer's links are followed after every step

    def step(self, touch: Touch) -> None:
        """Decide one touchpoint."""
        if touch.kind == "poison":
            self.poisoned.append(touch)
            return
        if any(self._window_end(at_ms) > touch.log_ms for at_ms in self.seen.get(touch.message, ())):
            self.duplicates += 1
            return
        concerned = {"event": touch.ids[:1], "link": touch.ids[:2], "refuse": touch.ids[:2]}.get(touch.kind, ())
        if any(x in self.tombs for x in concerned):
            self.dropped += 1
            return
        self.seen.setdefault(touch.message, []).append(touch.log_ms)
        {
            "event": self._event,
            "unlink": self._unlink,
            "erase": self._erase,
            "link": self._link,
            "refuse": self._refuse,
        }[touch.kind](touch)
        if self.checks_links:
            self._check_links()

    def _window_end(self, at_ms: int) -> int:
        """Message ids are remembered by bucket: until the window after the bucket's end."""
        bucket_end = (at_ms // self.limits.bucket_ms + 1) * self.limits.bucket_ms
        return bucket_end + self.limits.window_ms

    # -- events
    def _event(self, touch: Touch) -> None:
        ids = [x for x in touch.ids if x not in self.tombs]
        fresh, _ = self._link_all(touch, ids)
        home = self.home[ids[0]]
        if fresh:
            self._change("linked", home.id, touch, nodes=tuple(fresh))
        self._record("event", home, touch)

    def _link(self, touch: Touch) -> None:
        """A person says that two identifiers are one customer's: nothing of the customer's log, told in any case."""
        fresh, refused = self._link_all(touch, list(touch.ids[:2]))
        told = fresh if refused else touch.ids[:2]
        if told:
            self._change("linked", self.home[touch.ids[0]].id, touch, nodes=tuple(told))

    def _refuse(self, touch: Touch) -> None:
        x, y = touch.ids[:2]
        if x in self.home and y in self.home:
            self._change("refused", self.home[x].id, touch, self.home[y].id, nodes=(x, y))

    def _link_all(self, touch: Touch, ids: list[str]) -> tuple[list[str], bool]:
        """The identifiers that are new, and whether a guard left one out."""
        refused = False
        primary, fresh, k = ids[0], [], 0
        if primary not in self.home:
            homes = [self.home[x] for x in ids[1:] if x in self.home]
            home = next((c for c in homes if not self._refuses([primary], c.ids)), None) or self._found(primary)
            self._join(primary, home)
            fresh.append(primary)
        for x in ids[1:]:
            mine = self.home[primary]
            if x not in self.home:
                why = self._refuses([x], mine.ids)
                if why:
                    told = (primary, x) if touch.kind == "link" else (x,)
                    self._change("blocked", mine.id, touch, nodes=told, reason=why)
                    refused = True
                    continue
                self._join(x, mine)
                fresh.append(x)
            elif self.home[x] is not mine:
                why = self._refuses(mine.ids, self.home[x].ids) or self._public_refuses(touch, mine, self.home[x])
                if why:
                    self._change("conflict", mine.id, touch, self.home[x].id, nodes=(primary, x), reason=why)
                    refused = True
                    continue
                self._merge(mine, self.home[x], touch, k)
                k += 1
            self.links.append((primary, x))
        return fresh, refused

    def _refuses(self, some: list[str], others: list[str]) -> str:
        """Why these identifiers may not become one customer; a side that exceeds a limit alone is not its fault."""
        if len(some) + len(others) > self.limits.max_size:
            return "cluster_size"
        for kind, limit in self.limits.per_kind.items():
            a, b = ([x for x in side if x.startswith(f"{kind}:")] for side in (some, others))
            if a and b and len(a) + len(b) > limit:
                return "limit"
        return ""

    def _public_refuses(self, touch: Touch, a: Customer, b: Customer) -> str:
        def is_known(customer: Customer) -> bool:
            return any(x.partition(":")[0] in self.limits.known for x in customer.ids)

        return "public_key" if touch.is_public and is_known(a) and is_known(b) else ""

    def _found(self, identifier: str, again: bool = False) -> Customer:
        birth = self.births.get(identifier, 0) + 1 if again else 0
        if again:
            self.births[identifier] = birth
        customer = Customer(self.name_customer(identifier, birth), len(self.born))
        assert customer.id not in self.born, "a customer id is never used again"
        self.born.add(customer.id)
        return customer

    def _join(self, identifier: str, customer: Customer) -> None:
        self.home[identifier] = customer
        customer.ids.append(identifier)

    def _merge(self, a: Customer, b: Customer, touch: Touch, k: int) -> None:
        stays, leaves = sorted((a, b), key=lambda customer: customer.age)
        self._record("give", leaves, touch, pieces=((k, stays.id, ()),))
        self._record("take", stays, touch, k=k, giver=leaves.id)
        for x in leaves.ids:
            self._join(x, stays)
        self._change("merged", stays.id, touch, leaves.id, k, tuple(stays.ids))

    # -- unlink and erase
    def _unlink(self, touch: Touch) -> None:
        x = touch.ids[0]
        if x not in self.home:
            return
        old = self.home[x]
        whose = self.name_customer(touch.founder, 0) if touch.founder else old.id
        if whose != old.id:
            self._change("declined", old.id, touch, whose, nodes=(x,), reason="other_customer")
            return
        if touch.is_pair:
            pair = touch.ids[:2]
            linked = [link for link in self.links if set(link) == set(pair)]
            if not linked:
                self._change("declined", old.id, touch, nodes=pair, reason="no_link")
                return
            self._change("unlinked", old.id, touch, nodes=pair)
            self.links = [link for link in self.links if link not in linked]
        else:
            self.links = [link for link in self.links if x not in link]
        sides = self.components(old.ids)
        stays = sides[0] if touch.is_pair or sides == [[x]] else next(side for side in sides if side != [x])
        self._part(touch, old, stays, [side for side in sides if side is not stays])

    def _part(self, touch: Touch, old: Customer, stays: list[str], leave: list[list[str]]) -> None:
        pieces, takes = [], []
        for k, side in enumerate(leave):
            new = self._found(side[0], again=True)
            for y in side:
                self._join(y, new)
            self._change("split", new.id, touch, old.id, k, tuple(side))
            pieces.append((k, new.id, tuple(side)))
            takes.append((k, new))
        old.ids = stays
        if leave:
            self._record("give", old, touch, pieces=tuple(pieces))
        for k, new in takes:
            self._record("take", new, touch, k=k, giver=old.id)

    def _erase(self, touch: Touch) -> None:
        customer = self.home.get(touch.ids[0])
        gone = customer.ids if customer else [touch.ids[0]]
        self.tombs |= set(gone)
        self.links = [link for link in self.links if not set(link) & set(gone)]
        for x in gone:
            self.home.pop(x, None)
        if customer:
            self._change("erased", customer.id, touch, nodes=tuple(gone))
            self._record("erase", customer, touch, nodes=tuple(gone))

    # -- what comes out
    def _record(self, kind: str, customer: Customer, touch: Touch, **fields: object) -> None:
        customer.n += 1
        self.log.append(LogItem(kind, customer.id, customer.n, touch, **fields))  # type: ignore[arg-type]

    def _change(
        self, what: str, customer: str, touch: Touch, other: str = "", k: int = -1, nodes: tuple[str, ...] = (),
        reason: str = "",
    ) -> None:  # fmt: skip
        self.changes.append(Change(what, len(self.changes) + 1, customer, other, k, nodes, reason, touch))

    # -- the truth
    def components(self, ids: Iterable[str]) -> list[list[str]]:
        """What the links connect among these identifiers; each side in their order, the side of the first one first."""
        left, sides = list(ids), []
        while left:
            reached, border = {left[0]}, [left[0]]
            while border:
                x = border.pop()
                near = {b for a, b in self.links if a == x} | {a for a, b in self.links if b == x}
                border += near - reached
                reached |= near
            sides.append([x for x in left if x in reached])
            left = [x for x in left if x not in reached]
        return sides

    def _check_links(self) -> None:
        for customer in self.customers():
            assert self.components(customer.ids) == [customer.ids]

    def customers(self) -> list[Customer]:
        """Everybody who exists."""
        return list({customer.id: customer for customer in self.home.values()}.values())
