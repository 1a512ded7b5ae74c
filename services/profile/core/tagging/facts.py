"""What conditions ask of one customer: moments, sums and scores, as of today or a later day with nothing new before it.

Everything is computed when it is first asked for and kept for the one conclusion that a Facts is made for. A number
that does not exist (days since a purchase that never was, a score that nobody knows) is NaN: every comparison with it
is false.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from math import nan

from services.profile.core.config import RING_DAYS, ProfileConfig
from services.profile.core.population import TOP_COMPOSITE
from services.profile.core.rfm import NEVER
from services.profile.core.settle import Settled, settled
from services.profile.core.state import Book, Clock, Json, Rfm, Ring, Thresholds, View
from services.profile.core.summary import traits_of
from services.profile.core.tagging.months import first_day, month_of
from services.profile.core.tagging.vocabulary import INTERACTIONS, ORDERS, SPEND
from services.profile.core.tally import rings_of
from services.profile.core.windows import ALL_TIME, day_of_many, money_in, net, orders_in, sum_after

# Months that a fall may go on; the rings hold thirteen.
MAX_MONTHS = 12
# Without new events a run of falling months is over after this many: its last sum is 0, and nothing is less.
# (One more: an event may be a day ahead of today, in the next month.)
_MONTHS_AHEAD = 4
Scores = tuple[float, float, float]
# Moments of which the view knows the day.
KNOWN_DAYS = frozenset(("activity", "contact", "purchase", "first_purchase", "registration", "login"))


class Facts:
    """Of one customer, as of `seen.today`. `held` and `stage` are filled in while the conclusion is drawn.

    <moment>_day  business day of a moment of KNOWN_DAYS
    events        of all parts: no sum of a counter that adds 1 for an event exceeds it
    months        at least as many calendar months had interactions
    is_visitor    there is neither a purchase nor money that belongs to none, or that no rate converts
    may_rise      spend may rise although nothing happens: when a refund that names no order, or one that nobody bought,
                  leaves the window, or money of the main currency leaves other money behind
    """

    __slots__ = (
        "_books", "_config", "_days", "_rings", "_scores", "_seen", "_sums", "_thresholds", "_traits",
        "activity_day", "contact_day", "events", "first_purchase_day", "held", "is_visitor", "login_day",
        "may_rise", "months", "purchase_day", "registration_day", "rfm", "stage", "today",
    )  # fmt: skip

    def __init__(self, seen: View, rfm: Rfm, thresholds: Thresholds | None, config: ProfileConfig) -> None:
        self._seen, self.rfm, self._thresholds, self._config = seen, rfm, thresholds, config
        self.today = seen.today
        self.held: Mapping[str, object] = {}
        self.stage = ""
        self._days: dict[str, float] = {}
        self._rings: dict[str, list[Ring]] = {}
        self._sums: dict[tuple[str, int, int], float] = {}
        self._scores: dict[int, Scores] = {}
        self._traits: dict[str, Json] | None = None
        self._books: list[Settled] | None = None
        self.events, self.months, self.may_rise = seen.events, 0, False
        for part in seen.parts:
            self.months += len(part.months.days)
            if part.money or (part.book is not None and _has_other(part.book, config)):
                self.may_rise = True
        bought, begun, registered = seen.purchase_day, seen.first_purchase_day, seen.registered_day
        self.is_visitor = bought is None and not self.may_rise
        self.may_rise = self.may_rise or any(part.book is not None and part.book.refunds for part in seen.parts)
        self.purchase_day = nan if bought is None else bought
        self.first_purchase_day = nan if begun is None else begun
        self.registration_day = nan if registered is None else registered
        login = seen.clocks.login
        self.login_day: float = nan if login is None else config.calendar.day(login[0])
        self.activity_day: float = seen.activity_day if seen.parts else nan
        self.contact_day: float = seen.churn_day if seen.parts else nan

    def anew(self, seen: View) -> "Facts":
        """The same customer after more events that changed no score."""
        return Facts(seen, self.rfm, self._thresholds, self._config)

    def missing_measures(self) -> bool:
        """Whether some part has not been counted from its beginning by the measures of the catalogue."""
        wanted = self._config.catalogue.measures_version
        if wanted:
            for part in self._seen.parts:
                if part.measured != wanted:
                    return True
        return False

    def clock(self, moment: str) -> Clock | None:
        """(ms, place) of a moment (vocabulary.MOMENTS); None when it never was."""
        seen = self._seen
        if not seen.parts:
            return None
        if moment == "activity":
            return seen.activity_ms, seen.activity_place
        if moment == "contact":
            return seen.churn_ms, seen.churn_place
        if moment == "purchase":
            return None if seen.purchase_day is None else (seen.purchase_ms, seen.purchase_place)
        if moment == "first_purchase":
            return None if seen.purchase_day is None else (seen.first_purchase_ms, self._first_place())
        found: Clock | None = getattr(seen.clocks, _FIELDS.get(moment, moment))
        return found

    def _first_place(self) -> str:
        """The first purchase's place; "" when the first event was of a cancelled order, or of one told again later."""
        seen, clock = self._seen, self._seen.clocks.first_purchase
        if clock is not None and clock[0] == seen.first_purchase_ms:
            return clock[1]
        return seen.purchase_place if seen.first_purchase_ms == seen.purchase_ms else ""

    def books(self) -> list[Settled]:
        """What the orders of the parts come to."""
        if self._books is None:
            self._books = settled(self._seen.parts, self._config)
        return self._books

    def orders(self, after: int, enough: int = 1) -> tuple[int, int | None, int]:
        """See windows.orders_in."""
        return orders_in(self.books(), after, enough)

    def minor(self, days: int, t: int) -> int:
        """Net spend of the days that end with t in the currency that is told, minor units; 0: ever."""
        return self._money(days, t)[1]

    def spend(self, days: int, t: int) -> float:
        """The same in the main currency; NaN where there is only money in others that have no rate."""
        currency, minor = self._money(days, t)
        return nan if minor and currency != self._config.currency else minor

    def _money(self, days: int, t: int) -> tuple[str, int]:
        """(currency that is told, minor units), see windows.money_in."""
        if days == self._config.windows.rfm and t == self.today:
            return self._seen.currency, self._seen.net_minor
        return money_in(self._seen.parts, self.books(), t - days if days else ALL_TIME, self._config)[:2]

    def day(self, moment: str) -> float:
        """Business day of a moment."""
        day = self._days.get(moment)
        if day is None:
            at = self.clock(moment)
            day = self._days[moment] = nan if at is None else self._config.calendar.day(at[0])
        return day

    def latest(self, moments: tuple[str, ...], events: tuple[str, ...] = (), t: int = 0) -> float:
        """The latest business day of several moments and of the last events of these names, kept as of day `t`."""
        found = [day for moment in moments if (day := self.day(moment)) == day]
        found += [day for day in self._last_days(events) if day > t - RING_DAYS]
        return max(found, default=nan)

    def forgotten(self, events: tuple[str, ...], t: int) -> int:
        """The first day later than `t` on which a last event of these names is no longer known; NEVER: none is.

        A ring forgets by what comes later to it: without this rule it would hang on other events what is known.
        """
        return min([day + RING_DAYS for day in self._last_days(events) if day + RING_DAYS > t], default=NEVER)

    def _last_days(self, events: tuple[str, ...]) -> list[int]:
        return [
            ring.days[-1]
            for part in self._seen.parts
            for name in events
            if (ring := part.counters.get(name)) is not None and ring.days
        ]

    def place(self, moments: tuple[str, ...]) -> str:
        """The place of the latest of several moments; "" when none ever was."""
        clocks = [at for moment in moments if (at := self.clock(moment)) is not None]
        return max(clocks)[1] if clocks else ""

    def after(self, later: str, earlier: str) -> bool:
        """Whether a moment came later than another; false when one of them never was."""
        first, second = self.clock(later), self.clock(earlier)
        if first is None or second is None:
            return False
        # Of an event whose place is not known, nothing of the same ms comes later: it may be that event itself.
        return first > second and (first[0] > second[0] or second[1] != "")

    def sum(self, name: str, days: int, t: int) -> float:
        """The sum over the `days` days that end with `t`; days 0: over all time. Spend is in major units."""
        key = (name, days, t)
        found = self._sums.get(key)
        if found is None:
            found = self._sums[key] = self._sum(name, days, t)
        return found

    def _sum(self, name: str, days: int, t: int) -> float:
        if name == SPEND:
            return self.spend(days, t) / self._config.unit
        rings = self._rings.get(name)
        if rings is None:
            rings = self._rings[name] = self._find(name)
        if not rings:
            return 0
        return sum_after(rings, t - days) if days else sum([ring.total for ring in rings])

    def rings(self, name: str) -> list[Ring]:
        """The rings that orders, `interactions` or a counter add up."""
        rings = self._rings.get(name)
        if rings is None:
            rings = self._rings[name] = self._find(name)
        return rings

    def _find(self, name: str) -> list[Ring]:
        parts = self._seen.parts
        if name == ORDERS:
            # Most people never buy: of them nothing is looked up.
            return [] if self._seen.purchase_day is None else [one.orders for one in self.books()]
        if name == INTERACTIONS:
            passive = self._config.passive
            return [ring for part in parts for event, ring in part.counters.items() if event not in passive]
        counter = self._config.catalogue.counters[name]
        if counter.is_measure:
            rings, is_told = [], False
            for part in parts:
                if name in part.measures:
                    rings.append(part.measures[name])
                is_told |= part.tally is not None
            of_orders = rings_of(parts, self._config).get(name) if is_told else None
            return rings if of_orders is None else [*rings, of_orders]
        return [part.counters[event] for part in parts for event in counter.events if event in part.counters]

    def leaves(self, name: str, days: int, needed: int, t: int) -> int:
        """The first day later than `t` on which the sum over `days` days is below `needed`; NEVER: it is already."""
        if needed < 1 or self.sum(name, days, t) < needed:
            return NEVER
        if name == ORDERS:
            return self.orders(t - days, needed)[2] + days
        return day_of_many([ring for ring in self.rings(name) if ring.days], needed) + days

    def first_leaves(self, name: str, days: int, t: int) -> int:
        """The first day later than `t` on which the sum over `days` days may change."""
        if name == ORDERS:
            day = self.orders(t - days)[1]
        elif name == SPEND:
            day = money_in(self._seen.parts, self.books(), t - days, self._config)[2]
        else:
            firsts = [first for ring in self.rings(name) if (first := net(ring, t - days)[1]) is not None]
            day = min(firsts, default=None)
        return NEVER if day is None else day + days

    def scores(self, t: int) -> Scores:
        """R, F and M on a day; NaN while unknown."""
        found = self._scores.get(t)
        if found is None:
            found = self._scores[t] = self._score(t)
        return found

    def _score(self, t: int) -> Scores:
        rfm = self.rfm
        if t == self.today:
            return rfm.r or nan, rfm.f or nan, rfm.m or nan
        cuts, bought = self._thresholds, self._seen.purchase_day
        if cuts is None or bought is None:
            return nan, nan, nan
        window = self._config.windows.rfm
        return (
            5 - bisect_right(cuts.recency_days, max(0, t - bought)),
            1 + bisect_left(cuts.frequency, int(self.sum(ORDERS, window, t))),
            1 + bisect_left(cuts.monetary_minor, self.minor(window, t)),
        )

    def composite(self, t: int) -> float:
        """R + F + M."""
        return sum(self.scores(t))

    def score_change(self, t: int) -> int:
        """The first day later than `t` on which time may change a score."""
        if t == self.today:
            return self.rfm.next_day
        window, bought, cuts = self._config.windows.rfm, self._seen.purchase_day, self._thresholds
        day = NEVER
        if window:
            day = min(self.first_leaves(ORDERS, window, t), self.first_leaves(SPEND, window, t))
        if bought is not None and cuts is not None:
            better = bisect_right(cuts.recency_days, t - bought)
            if better < len(cuts.recency_days):
                day = min(day, bought + cuts.recency_days[better])
        return day

    def low_recency_day(self, score: int) -> float:
        """The day on which R fell to this score."""
        cuts, bought = self._thresholds, self._seen.purchase_day
        if cuts is None or bought is None:
            return nan
        return bought + cuts.recency_days[4 - score] if score < 5 else bought

    def percentile(self, of: str, t: int) -> float:
        """How many of 99 cut points of the buyers lie below this customer's value; NaN for somebody who has none."""
        cuts, bought = self._thresholds, self._seen.purchase_day
        if cuts is None or bought is None:
            return nan
        if of == "composite":
            value = self.composite(t)
            # The perfect score is the top, however many have it.
            return 99 if value >= TOP_COMPOSITE else bisect_left(cuts.composite_percentiles, value)
        if of == "spend":
            spend = self.spend(self._config.windows.rfm, t)
            return bisect_left(cuts.spend_percentiles, spend) if spend == spend else nan
        if self.sum(ORDERS, 0, t) != 1 or not cuts.first_order_percentiles:
            return nan
        spend = self.spend(0, t)
        return bisect_left(cuts.first_order_percentiles, spend) if spend == spend else nan

    def months_falling(self, name: str, t: int) -> int:
        """How many of the last complete months in a row had less than the month before."""
        month = month_of(t) - 1
        last, falls = self._month(name, month), 0
        while falls < MAX_MONTHS:
            before = self._month(name, month - falls - 1)
            if last >= before:
                break
            last, falls = before, falls + 1
        return falls

    def _month(self, name: str, month: int) -> int:
        """The sum of a calendar month."""
        if name == INTERACTIONS:
            total = 0
            for part in self._seen.parts:
                months = part.months.days
                if month in months:
                    total += part.months.values[months.index(month)]
            return total
        return self._between(name, first_day(month), first_day(month + 1))

    def _between(self, name: str, first: int, end: int) -> int:
        """The sum of the days from `first` to before `end`."""
        if name == ORDERS:
            return self.orders(first - 1)[0] - self.orders(end - 1)[0]
        return sum([net(ring, first - 1)[0] - net(ring, end - 1)[0] for ring in self.rings(name)])

    def months_flip(self, name: str, holds: Callable[[int], bool], t: int) -> int:
        """The first month's begin after `t` at which what `holds` says of months_falling is another."""
        now, month = holds(self.months_falling(name, t)), month_of(t)
        for ahead in range(1, _MONTHS_AHEAD + 1):
            day = first_day(month + ahead)
            if holds(self.months_falling(name, day)) is not now:
                return day
        return NEVER

    def next_month(self, name: str, t: int) -> int:
        """When another month is complete; NEVER when there is nothing in the months that are kept."""
        return first_day(month_of(t) + 1) if name == ORDERS or any(ring.days for ring in self.rings(name)) else NEVER

    def ratio(self, a: float, b: float) -> float:
        """a / b; nothing to divide by is no number."""
        return a / b if b else nan

    def differ(self, a: Json, b: Json) -> bool:
        """Whether two values that are there differ; NaN and None are not there."""
        is_there = a is not None and b is not None and a == a and b == b
        return is_there and (a != b or isinstance(a, bool) is not isinstance(b, bool))

    def equal(self, a: Json, b: Json) -> bool:
        """Whether two values that are there are equal."""
        return a is not None and bool(a == b) and isinstance(a, bool) is isinstance(b, bool)

    def trait(self, name: str) -> Json:
        """The value of a trait; None when there is none."""
        if self._traits is None:
            self._traits = traits_of(self._seen.parts)
        return self._traits.get(name)

    def flag(self, name: str) -> bool | None:
        """A trait that is true or false; None for anything else."""
        value = self.trait(name)
        return value if isinstance(value, bool) else None

    def has(self, name: str, item: Json) -> bool:
        """Whether a trait is a list with this item, or is it itself."""
        value = self.trait(name)
        return any(self.equal(one, item) for one in (value if isinstance(value, list) else (value,)))

    def number(self, name: str) -> float:
        """A trait that is a number; NaN for anything else."""
        value = self.trait(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else nan


_FIELDS = {"registration": "registered", "first_seen": "first"}


def _has_other(book: Book, config: ProfileConfig) -> bool:
    """Whether there may be money that is not told in the main currency."""
    for table in (book.bought, book.updated, book.lines, book.refunds):
        for currency in table:
            if currency and currency != config.currency and currency not in config.rates:
                return True
    return False
