"""Conditions as nested tuples: random ones, their text, and what they say, by scanning all events for every value."""

from collections import Counter
from datetime import date, timedelta
from functools import cache
from math import nan

from hypothesis import strategies as st

from services.profile.core.state import Event, Thresholds
from tests.property.profile.profile_naive import (
    PURCHASES,
    QUIET,
    RESPONSES,
    local_day,
    naive_money,
    naive_orders,
    order_name,
)

COUNTERS = {
    "engaged": {"events": ["Service Ticket Opened", "Content Shared"]},
    "big": {"events": ["Page Viewed", "Service Ticket Opened"], "where": "size > 2"},
    "sized": {"events": ["Order Completed", "Order Line Completed", "Page Viewed"], "where": "size > 2"},
    "pieces": {
        "events": ["Order Completed", "Order Line Completed"],
        "each": "products",
        "where": "not exists(gift)",
        "sum": "quantity",
    },
}
PROPERTIES = [
    b"",
    b'{"size":2}',
    b'{"size":3}',
    b'{"size":"7"}',
    b'{"products":[{"quantity":2},{"quantity":9,"gift":1}]}',
]
# What each of PROPERTIES adds to the measures; a line is an item itself.
ADDED = {"big": (0, 0, 1, 1, 0), "sized": (0, 0, 1, 1, 0), "pieces": (0, 0, 0, 0, 2)}
OF_ORDERS = ("sized", "pieces")
ADDED_BY_LINE = ADDED | {"pieces": (1, 1, 1, 1, 2)}
TEXTS = {"a": ["x", "y"], "d": ["x", "y"]}
MOMENTS = ["activity", "contact", "interaction", "purchase", "first_purchase", "login", "registration", "response"]
STAGES = ["prospect", "first_purchase", "repeat", "loyal", "dormant", "churned"]
SIGNS = ["<", "<=", ">", ">=", "==", "!="]

sums = st.sampled_from(["orders", "spend", "interactions", *COUNTERS])
days = st.sampled_from([0, 1, 2, 3, 5, 9, 20, 40])
windows = st.tuples(st.just("window"), sums, days)
sinces = st.tuples(
    st.just("since"),
    st.lists(st.sampled_from([*MOMENTS, "first_seen"]), min_size=1, max_size=2).map(tuple),
    st.lists(st.sampled_from(["Page Viewed", "Content Shared"]), max_size=1).map(tuple),
)
scores = st.tuples(st.just("score"), st.sampled_from(["r", "f", "m", "composite"]))
percentiles = st.tuples(st.just("percentile"), st.sampled_from(["spend", "composite", "order_value"]))
months = st.tuples(st.just("months"), st.sampled_from(["interactions", "orders", "engaged", "big", "sized"]))
traits = st.tuples(st.just("trait"), st.sampled_from("abcd"))
simple = st.one_of(windows, windows, sinces, sinces, scores, percentiles, months)
limits = st.sampled_from([-1, 0, 0.5, 1, 1.5, 2, 3, 4, 5, 7, 9, 12, 20, 30, 60, 90]).map(lambda x: ("number", x))
calculated = st.tuples(st.just("calc"), st.sampled_from("+-*/"), simple, st.one_of(simple, limits))
numbers = st.one_of(simple, simple, calculated)
comparisons = st.one_of(
    st.tuples(st.just("compare"), st.sampled_from(SIGNS), numbers, limits),
    st.tuples(st.just("compare"), st.sampled_from(SIGNS), numbers, limits),
    st.tuples(st.just("compare"), st.sampled_from(SIGNS), numbers, numbers),
    st.tuples(st.just("compare"), st.sampled_from(SIGNS), traits, st.one_of(limits, traits)),
    st.tuples(st.just("compare"), st.sampled_from(["==", "!="]), traits, st.just(("number", "x"))),
)
atoms = st.one_of(
    comparisons,
    comparisons,
    comparisons,
    st.tuples(st.just("in"), simple, st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple)),
    st.tuples(st.just("in"), traits, st.sampled_from([("x", "y"), (1, 2), ("x", 3)])),
    st.tuples(st.just("after"), st.sampled_from(MOMENTS), st.sampled_from(MOMENTS)),
    st.tuples(st.just("has"), st.sampled_from("abcd")),
)
IN_STAGE = st.tuples(
    st.just("in"), st.just(("stage",)), st.lists(st.sampled_from(STAGES), min_size=1, max_size=2).map(tuple)
)


def conditions(*more):
    """Random conditions; `more`: other atoms that may occur."""
    one = st.one_of(atoms, atoms, *more)
    return st.recursive(
        one,
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner),
            st.tuples(st.sampled_from(["and", "or"]), inner, inner),
        ),
        max_leaves=4,
    )


def text_of(node) -> str:
    """The condition or value as an operator would write it."""
    kind, *rest = node
    if kind == "number":
        return f'"{rest[0]}"' if isinstance(rest[0], str) else str(rest[0])
    if kind == "window":
        return f"{rest[0]}({rest[1] or ''})"
    if kind == "since":
        return f"days_since({', '.join([*rest[0], *[repr(name) for name in rest[1]]])})"
    if kind == "months":
        return f"months_falling({rest[0]})"
    if kind in ("score", "stage"):
        return rest[0] if rest else kind
    if kind == "percentile":
        return f"percentile({rest[0]})"
    if kind == "after":
        return f"after({rest[0]}, {rest[1]})"
    if kind in ("trait", "tag", "has"):
        return f'{"has_trait" if kind == "has" else kind}("{rest[0]}")'
    if kind == "in":
        return f"{text_of(rest[0])} in {list(rest[1])!r}"
    if kind == "not":
        return f"not ({text_of(rest[0])})"
    if kind in ("calc", "compare"):
        return f"({text_of(rest[1])} {rest[0]} {text_of(rest[2])})"
    return f"({text_of(rest[0])} {kind} {text_of(rest[1])})"


day_of = cache(local_day)


class Naive:
    """One customer's events, asked as of a day."""

    def __init__(self, events: list[Event], cuts: Thresholds, window: int) -> None:
        self.events, self.cuts, self.rfm_window = events, cuts, window
        self.tracked = [e for e in events if e.type == "track"]
        self.orders = naive_orders(self.tracked)
        self.moments: dict[str, int | None] = {}
        self.counts: dict[str, list[tuple[int, int]]] = {}
        self.money = [(day_of(ms), currency, minor) for ms, currency, minor in naive_money(self.tracked, self.orders)]

    def says(self, node, t: int, stage: str = "", tags: frozenset[str] = frozenset()) -> bool:
        """Whether a condition holds on day t."""
        kind, *rest = node
        if kind == "and":
            return all(self.says(one, t, stage, tags) for one in rest)
        if kind == "or":
            return any(self.says(one, t, stage, tags) for one in rest)
        if kind == "not":
            return not self.says(rest[0], t, stage, tags)
        if kind == "tag":
            return rest[0] in tags
        if kind == "has":
            return self.trait(rest[0]) is not None
        if kind == "after":
            first, second = self.moment(rest[0]), self.moment(rest[1])
            return first is not None and second is not None and first > second
        if kind == "in":
            value = stage if rest[0] == ("stage",) else self.value(rest[0], t)
            return any(value == one for one in rest[1])
        sign, left, right = rest
        is_text = sign in ("==", "!=") and right in (("number", "x"), ("trait", right[1]))
        return compared(sign, self.value(left, t), self.value(right, t), is_text)

    def value(self, node, t: int):
        kind, *rest = node
        if kind == "number":
            return rest[0]
        if kind == "window":
            return self.window(rest[0], rest[1], t)
        if kind == "since":
            found = [day_of(ms) for name in rest[0] if (ms := self.moment(name)) is not None]
            days = [day_of(e.occurred_at) for e in self.events if e.name in rest[1]]
            found += [day for day in days if t - day < 400]
            return t - max(found) if found else nan
        if kind == "score":
            return dict(zip(("r", "f", "m", "composite"), self.scores(t), strict=True))[rest[0]]
        if kind == "percentile":
            return self.percentile(rest[0], t)
        if kind == "months":
            return self.months_falling(rest[0], t)
        if kind == "trait":
            return self.trait(rest[0])
        sign, left, right = rest[0], self.value(rest[1], t), self.value(rest[2], t)
        if sign == "/":
            return left / right if right else nan
        return left + right if sign == "+" else left - right if sign == "-" else left * right

    def moment(self, name: str) -> int | None:
        """ms of a moment; no two events have the same."""
        if name not in self.moments:
            self.moments[name] = self._moment(name)
        return self.moments[name]

    def _moment(self, name: str) -> int | None:
        active = [e.occurred_at for e in self.tracked if e.name not in QUIET]
        logins = [e.occurred_at for e in self.tracked if e.name in ("Logged In", "Registered")]
        responses = [e.occurred_at for e in self.tracked if e.name in RESPONSES]
        lapses = logins + [e.occurred_at for e in self.tracked if e.name in PURCHASES]
        first = min(e.occurred_at for e in self.events)
        found = {
            "activity": active or [first],
            "contact": (lapses or active) + responses or [first],
            "interaction": active,
            "purchase": [at for at, _ in self.orders.values()],
            "first_purchase": [-at for at, _ in self.orders.values()],
            "login": logins,
            "registration": [-e.occurred_at for e in self.tracked if e.name == "Registered"],
            "response": responses,
            "first_seen": [first],
        }[name]
        return abs(max(found)) if found else None

    def counted(self, name: str) -> list[tuple[int, int]]:
        """(day, amount) of what a counter counts."""
        if name not in self.counts:
            self.counts[name] = self._counted(name)
        return self.counts[name]

    def _counted(self, name: str) -> list[tuple[int, int]]:
        if name == "orders":
            return [(day_of(at), 1) for at, _ in self.orders.values()]
        found = [(day_of(at), self.of_order(name, key)) for key, (at, _) in self.orders.items() if name in OF_ORDERS]
        for e in self.events:
            if name == "interactions":
                amount = int(e.name not in QUIET and e.name != "Identified")
            elif name in OF_ORDERS and e in self.tracked and e.name in PURCHASES:
                continue
            else:
                amount = int(e.name in COUNTERS[name]["events"])
                if name in ADDED:
                    amount *= ADDED[name][PROPERTIES.index(e.properties)]
            found.append((day_of(e.occurred_at), amount))
        return found

    def of_order(self, name: str, key: str) -> int:
        """What the last telling of an order adds, or else its lines; a counter without a sum counts an order once."""
        mine = [e for e in self.tracked if order_name(e) == key]
        whole = [e for e in mine if e.name == "Order Completed"]
        last = max(whole, key=lambda e: e.occurred_at, default=None)
        said = ADDED[name][PROPERTIES.index(last.properties)] if last else 0
        lines = [ADDED_BY_LINE[name][PROPERTIES.index(e.properties)] for e in mine if e.name == "Order Line Completed"]
        return said or (sum(lines) if "sum" in COUNTERS[name] else max(lines, default=0))

    def spend(self, length: int, t: int) -> float:
        """Of money in other currencies alone nothing is known, unless it is none."""
        inside = [one for one in self.money if not length or one[0] > t - length]
        minor = self.minor(length, t)
        return nan if minor and "CNY" not in {currency for _, currency, _ in inside} else minor

    def minor(self, length: int, t: int) -> int:
        inside = [one for one in self.money if not length or one[0] > t - length]
        found: Counter[str] = Counter()
        for _, currency, amount in inside or self.money:
            found[currency] += amount if inside else 0
        return found["CNY"] if "CNY" in found else max(found.values(), default=0)

    def window(self, name: str, length: int, t: int) -> float:
        if name == "spend":
            return self.spend(length, t) / 100
        return sum(amount for day, amount in self.counted(name) if not length or day > t - length)

    def scores(self, t: int) -> tuple[float, float, float, float]:
        if not self.orders:
            return nan, nan, nan, nan
        bought = max(day_of(at) for at, _ in self.orders.values())
        orders, minor = self.window("orders", self.rfm_window, t), self.minor(self.rfm_window, t)
        r = 1 + sum(cut > max(0, t - bought) for cut in self.cuts.recency_days)
        f = 1 + sum(cut < orders for cut in self.cuts.frequency)
        m = 1 + sum(cut < minor for cut in self.cuts.monetary_minor)
        return r, f, m, r + f + m

    def percentile(self, of: str, t: int) -> float:
        if not self.orders:
            return nan
        composite = self.scores(t)[3]
        if of == "composite":
            return 99 if composite == 15 else sum(cut < composite for cut in self.cuts.composite_percentiles)
        if of == "spend":
            spend, cuts = self.spend(self.rfm_window, t), self.cuts.spend_percentiles
        else:
            spend, cuts = self.spend(0, t) if len(self.orders) == 1 else nan, self.cuts.first_order_percentiles
        return nan if spend != spend else sum(cut < spend for cut in cuts)

    def months_falling(self, name: str, t: int) -> int:
        sums: Counter[tuple[int, int]] = Counter()
        for day, amount in self.counted(name):
            at = date(1970, 1, 1) + timedelta(days=day)
            sums[at.year, at.month] += amount
        today = date(1970, 1, 1) + timedelta(days=t)
        months = [
            ((today.year * 12 + today.month - 1 - back) // 12, (today.month - 1 - back) % 12 + 1)
            for back in range(1, 15)
        ]
        falls = 0
        while falls < 12 and sums[months[falls]] < sums[months[falls + 1]]:
            falls += 1
        return falls

    def trait(self, name: str):
        writes = [e for e in sorted(self.events, key=lambda e: (e.occurred_at, e.event_id)) if name in e.traits]
        return writes[-1].traits[name] if writes else None


def number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compared(sign, left, right, is_text) -> bool:
    """With what is not there, or is a text where numbers are compared, nothing is true."""
    if not is_text and not (number(left) and number(right)):
        return False
    if left is None or right is None or left != left or right != right:
        return False
    if sign in ("==", "!="):
        return (left == right) is (sign == "==")
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign]
