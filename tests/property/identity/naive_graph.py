"""The identity graph as one slow machine: one touchpoint at a time, nothing incremental but the list of links.

Who belongs together is what the accepted links connect, searched anew each time. Written apart from resolve.lua; only
the rules are the same: totals order, limits, tombstones, numbers. Identifiers are `kind:value` texts.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """What guards a customer. per_kind: values of a kind it may have; known: kinds that name a person."""

    per_kind: Mapping[str, int] = field(default_factory=dict)  # strongest kind first
    known: frozenset[str] = frozenset()
    frozen: frozenset[str] = frozenset()  # kinds that may not merge
    ttl_days: Mapping[str, int] = field(default_factory=dict)
    hold_days: int = 30
    said_most: int = 10**9
    ranks: Mapping[str, int] = field(default_factory=dict)
    max_size: int = 1_000
    window_ms: int = 10**12
    bucket_ms: int = 10**9


@dataclass(frozen=True)
class Touch:
    """One touchpoint. kind: event, unlink, erase, link, refuse, release or poison; place: (partition, offset).

    Of an unlink: is_pair, only the link between the first two identifiers; founder, the identifier that founded the
    customer for the first time whom it is asked of. verified: kinds that a source which is believed calls the person's
    own. author: who asks for it, where that is said.
    """

    kind: str
    ids: tuple[str, ...]
    message: str
    place: tuple[int, int]
    log_ms: int = 0
    is_public: bool = False
    is_pair: bool = False
    founder: str = ""
    verified: tuple[str, ...] = ()
    is_import: bool = False
    author: str = ""


@dataclass(frozen=True)
class LogItem:
    """A record of a customer's log. node: of an event. k: which hand-over of its touchpoint.

    pieces of a give: (k, to, nodes or all).
    """

    kind: str
    customer: str
    n: int
    touch: Touch
    k: int = 0
    giver: str = ""
    pieces: tuple[tuple[int, str, tuple[str, ...]], ...] = ()
    nodes: tuple[str, ...] = ()
    node: str = ""


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
    former: set[str] = field(default_factory=set)  # of them: those whose identifier has another node now
    is_quarantined: bool = False
    releases: int = 0


def renewed(node: str) -> str:
    """The next node of an identifier: `phone:1`, `phone:1~1`, `phone:1~2` …"""
    base, _, times = node.partition("~")
    return f"{base}~{int(times or 0) + 1}"


def kind_of(node: str) -> str:
    """The kind of an identifier or node."""
    return node.partition(":")[0]


def day_of(touch: Touch) -> int:
    """The day of the log, UTC, since 1970."""
    return touch.log_ms // 86_400_000


class NaiveGraph:
    """`step` decides one touchpoint; `log` and `changes` hold everything decided so far."""

    def __init__(self, limits: Limits, name_customer: Callable[[str, int], str]) -> None:
        """name_customer: (founding identifier, how often it founded one before) → customer id."""
        self.limits, self.name_customer = limits, name_customer
        self.home: dict[str, Customer] = {}
        self.node_of: dict[str, str] = {}  # identifiers that have another node than themselves
        self.days: dict[str, int] = {}
        self.said: list[tuple[str, ...]] = []
        self.links: list[tuple[str, str]] = []
        self.tombs: set[str] = set()
        self.births: dict[str, int] = {}
        self.seen: dict[str, list[int]] = {}
        self.born: set[str] = set()
        self.log: list[LogItem] = []
        self.changes: list[Change] = []
        self.poisoned: list[Touch] = []
        self.duplicates = self.dropped = self.untold = 0
        self.checks_links = True  # slow: every customer's links are followed after every step

    def step(self, touch: Touch) -> None:
        """Decide one touchpoint."""
        if touch.kind == "poison":
            self.poisoned.append(touch)
            return
        if any(self._window_end(at_ms) > touch.log_ms for at_ms in self.seen.get(touch.message, ())):
            self.duplicates += 1
            return
        ids = touch.ids
        if touch.kind == "event":
            ids = tuple(sorted(ids, key=lambda x: self.limits.ranks.get(kind_of(x), 0)))
        ids = tuple(self.node_of.get(x, x) for x in ids)
        concerned = {"event": ids[:1], "link": ids[:2], "refuse": ids[:2]}.get(touch.kind, ())
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
            "release": self._release,
        }[touch.kind](touch, ids)
        if self.checks_links:
            self._check_links()

    def _window_end(self, at_ms: int) -> int:
        """Message ids are remembered by bucket: until the window after the bucket's end."""
        bucket_end = (at_ms // self.limits.bucket_ms + 1) * self.limits.bucket_ms
        return bucket_end + self.limits.window_ms

    # -- events
    def _event(self, touch: Touch, ids: tuple[str, ...]) -> None:
        nodes = [self._seen(touch, x) for x in ids]
        alive = [x for x in nodes if x not in self.tombs]
        fresh, _ = self._link_all(touch, alive)
        home = self.home[alive[0]]
        if fresh:
            self._change("linked", home.id, touch, nodes=tuple(fresh))
        self._record("event", home, touch, node=alive[0])

    def _seen(self, touch: Touch, node: str) -> str:
        """The node of an identifier that an event names: another one from now on when it was not seen for too long."""
        ttl, home = self.limits.ttl_days.get(kind_of(node)), self.home.get(node)
        if not ttl or home is None:
            return node
        if day_of(touch) - self.days[node] > ttl:
            new = self._renew(node)
            self._change("expired", home.id, touch, nodes=(new, node, new.partition("~")[0]), reason="ttl_days")
            return new
        self.days[node] = max(self.days[node], day_of(touch))
        return node

    def _renew(self, node: str) -> str:
        new = renewed(node)
        self.node_of[new.partition("~")[0]] = new
        self.home[node].former.add(node)
        return new

    def _link(self, touch: Touch, ids: tuple[str, ...]) -> None:
        """A person says that two identifiers are one customer's: nothing of the customer's log, told in any case."""
        fresh, refused = self._link_all(touch, list(ids[:2]))
        told = fresh if refused else ids[:2]
        if told:
            self._change("linked", self.home[ids[0]].id, touch, nodes=tuple(told))

    def _refuse(self, touch: Touch, ids: tuple[str, ...]) -> None:
        x, y = ids[:2]
        if x in self.home and y in self.home:
            self._change("refused", self.home[x].id, touch, self.home[y].id, nodes=(x, y))

    def _release(self, touch: Touch, ids: tuple[str, ...]) -> None:
        for customer in self.customers():
            if f"customer:{customer.id}" == ids[0] and customer.is_quarantined:
                customer.is_quarantined = False
                customer.releases += 1
                while self._allowed(customer) <= len(customer.ids):
                    customer.releases += 1
                self._change("released", customer.id, touch)

    def _link_all(self, touch: Touch, ids: list[str]) -> tuple[list[str], bool]:
        """The nodes that are new, and whether a guard left one out."""
        primary, fresh, refused, k = ids[0], list[str](), False, 0
        if primary not in self.home:
            homes = [self.home[x] for x in ids[1:] if x in self.home]
            home = next((c for c in homes if not self._put_refused(primary, c)), None) or self._found(primary)
            self._join(primary, home, touch)
            fresh.append(primary)
        for x in ids[1:]:
            mine = self.home[primary]
            if x not in self.home:
                why = self._put_refused(x, mine)
                if why:
                    self._refused(touch, why, mine, None, x, (primary, x) if touch.kind == "link" else (x,))
                    refused = True
                    continue
                self._join(x, mine, touch)
                fresh.append(x)
            elif self.home[x] is not mine:
                why = self._merge_refused(touch, mine, self.home[x], primary, x)
                if why and self._takes_over(touch, why, x, mine):
                    self.links.append((primary, renewed(x)))
                    continue
                if why:
                    self._refused(touch, why, mine, self.home[x], x, (primary, x))
                    refused = True
                    continue
                self._merge(mine, self.home[x], touch, k)
                k += 1
            self.links.append((primary, x))
        return fresh, refused

    def _takes_over(self, touch: Touch, why: str, x: str, mine: Customer) -> bool:
        """A newer owner who is verified takes an identifier over; what was under it before stays where it is."""
        day, last = day_of(touch), self.days.get(x)
        is_held = last is not None and day - last <= self.limits.hold_days
        if sum(kind_of(z) == kind_of(x) for z in touch.ids) != 1:
            return False  # nothing says which of them is meant
        if not why.startswith("unique") or kind_of(x) not in touch.verified or touch.is_import or is_held:
            return False
        if touch.kind != "event" or self._put_refused(x, mine):
            return False
        old, new = self.home[x], self._renew(x)
        self._join(new, mine, touch)
        self.days[new] = day
        self._change("moved", mine.id, touch, old.id, nodes=(new, x, new.partition("~")[0]), reason="verified")
        return True

    def _count(self, customer: Customer, kind: str) -> int:
        return sum(1 for x in customer.ids if kind_of(x) == kind and x not in customer.former)

    def _put_refused(self, x: str, customer: Customer) -> str:
        kind = kind_of(x)
        limit = self.limits.per_kind.get(kind)
        if limit and self._count(customer, kind) >= limit:
            return f"{'unique' if limit == 1 else 'limit'} {kind}"
        full = customer.is_quarantined or len(customer.ids) >= self._allowed(customer)
        return "cluster_size" if full else ""

    def _merge_refused(self, touch: Touch, a: Customer, b: Customer, x: str, y: str) -> str:
        """Why they may not become one; a side that exceeds a limit alone is not the other's fault."""
        for z in (y, x):
            if kind_of(z) in self.limits.frozen:
                return f"may_merge {kind_of(z)}"
        for kind, limit in self.limits.per_kind.items():
            mine, other = self._count(a, kind), self._count(b, kind)
            if mine and other and mine + other > limit:
                return f"{'unique' if limit == 1 else 'limit'} {kind}"
        if touch.is_public and self._is_known(a) and self._is_known(b):
            return "public_key"
        is_large = len(a.ids) + len(b.ids) > max(self._allowed(a), self._allowed(b))
        return "cluster_size" if is_large or a.is_quarantined or b.is_quarantined else ""

    def _is_known(self, customer: Customer) -> bool:
        return any(self._count(customer, kind) for kind in self.limits.known)

    def _allowed(self, customer: Customer) -> int:
        return self.limits.max_size * (1 + customer.releases)

    def _refused(
        self, touch: Touch, why: str, a: Customer, b: Customer | None, x: str, nodes: tuple[str, ...]
    ) -> None:  # fmt: skip
        if why == "cluster_size" and not a.is_quarantined and not (b and b.is_quarantined):
            large, other = (a, b) if b is None or (-len(a.ids), a.age) < (-len(b.ids), b.age) else (b, a)
            large.is_quarantined = True
            self._change("quarantined", large.id, touch, other.id if other else "", nodes=(x,), reason=why)
        key = (why, a.id, b.id if b else "", x)
        most, runs = self.limits.said_most, len(self.said) // self.limits.said_most
        if touch.kind != "link":
            if key in self.said[max(runs - 1, 0) * most :]:
                self.untold += 1
                return
            self.said.append(key)
        self._change("conflict" if b else "blocked", a.id, touch, b.id if b else "", nodes=nodes, reason=why)

    def _found(self, identifier: str, again: bool = False) -> Customer:
        birth = self.births.get(identifier, 0) + 1 if again else 0
        if again:
            self.births[identifier] = birth
        customer = Customer(self.name_customer(identifier, birth), len(self.born))
        assert customer.id not in self.born, "a customer id is never used again"
        self.born.add(customer.id)
        return customer

    def _join(self, identifier: str, customer: Customer, touch: Touch | None = None) -> None:
        """touch: with which an identifier that was nobody's is seen."""
        self.home[identifier] = customer
        customer.ids.append(identifier)
        if touch and kind_of(identifier) in self.limits.ttl_days:
            self.days[identifier] = day_of(touch)

    def _merge(self, a: Customer, b: Customer, touch: Touch, k: int) -> None:
        stays, leaves = sorted((a, b), key=lambda customer: customer.age)
        self._record("give", leaves, touch, pieces=((k, stays.id, ()),))
        self._record("take", stays, touch, k=k, giver=leaves.id)
        for x in leaves.ids:
            self._join(x, stays)
        stays.former |= leaves.former
        stays.releases = max(stays.releases, leaves.releases)
        self._change("merged", stays.id, touch, leaves.id, k, tuple(stays.ids))

    # -- unlink and erase
    def _unlink(self, touch: Touch, ids: tuple[str, ...]) -> None:
        x = ids[0]
        if x not in self.home:
            return
        old = self.home[x]
        whose = self.name_customer(touch.founder, 0) if touch.founder else old.id
        if whose != old.id:
            self._change("declined", old.id, touch, whose, nodes=(x,), reason="other_customer")
            return
        if touch.is_pair:
            pair = ids[:2]
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
            new.former = old.former & set(side)
            self._change("split", new.id, touch, old.id, k, tuple(side))
            pieces.append((k, new.id, tuple(side)))
            takes.append((k, new))
        old.ids, old.former = stays, old.former & set(stays)
        if leave:
            self._record("give", old, touch, pieces=tuple(pieces))
        for k, new in takes:
            self._record("take", new, touch, k=k, giver=old.id)

    def _erase(self, touch: Touch, ids: tuple[str, ...]) -> None:
        customer = self.home.get(ids[0])
        gone = customer.ids if customer else [ids[0]]
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
