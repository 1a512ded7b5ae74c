"""What is kept per customer and what a touchpoint contributes: plain structs, no decisions.

A customer's state is one `Part` per node (the primary identifier of its events) and one `Conclusion`. Parts can be
told apart again after an unlink; a conclusion is drawn from the merge of all parts (`view`). Every struct here is
array-like: a new field goes at the end and has a default, so that old bytes stay readable.

Bytes are canonical only through `ENCODER` (dictionaries sorted by key, C speed): the same events in any order give
the same bytes. Times are ms UTC, days are business days (`Calendar.day`), money is integer minor units, a place is
the touchpoint's "<generation>.<partition>.<offset>".
"""

from typing import Any, TypeAlias

import msgspec

# (ms, place) of one event; compared as a pair, so two events of the same millisecond have an order that every replay
# repeats.
Clock: TypeAlias = tuple[int, str]
# One JSON value of a trait. Only JSON decoders make them, so Any is what the decoder returns.
Json: TypeAlias = Any

ENCODER = msgspec.msgpack.Encoder(order="deterministic")

# Money beyond 64 bits fits into no record. Sums in state are of one sign and stop there, so their order stays without
# effect: a source with a comma too many costs its customer a figure, not everybody the partition.
MAX_MINOR = (1 << 63) - 1

# What JSON that cannot be read raises: not only DecodeError, but also these, for bytes that are no UTF-8 and for
# thousands of nested brackets.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# Event flags as they stand in the touchpoint.
FLAG_IMPORT = 1
FLAG_PUBLIC_KEY = 2
FLAG_TIME_CLAMPED = 4
FLAG_EVENT_CLOCK = 32


class Event(msgspec.Struct, gc=False):
    """What one touchpoint contributes. `identifiers` are masked; `amount_minor` is positive for purchase and refund."""

    event_id: str
    type: str
    name: str
    source: str
    place: str
    occurred_at: int
    order_id: str = ""
    amount_minor: int = 0
    currency: str = ""
    traits: dict[str, Json] = {}
    flags: int = 0
    identifiers: tuple[str, ...] = ()
    properties: bytes = b""


class Ring(msgspec.Struct, array_like=True):
    """A sum per business day over the last RING_DAYS days (ascending `days`, parallel `values`) and over all time."""

    total: int = 0
    days: list[int] = []
    values: list[int] = []


class Write(msgspec.Struct, array_like=True):
    """The trait fields whose current value comes from one event; null is a value that hides the field."""

    ms: int
    event_id: str
    source: str
    fields: dict[str, Json]


# Currency → order key → (ms, minor units) of the last word on it.
Last: TypeAlias = dict[str, dict[str, tuple[int, int]]]
# Currency → order key → flat pairs [ms, minor units, …], ascending by ms.
Sums: TypeAlias = dict[str, dict[str, list[int]]]


class Book(msgspec.Struct, array_like=True, dict=True):
    """What the events of a node say about its orders. `orders` is the only writer, `settle` says what it comes to.

    bought      the last purchase of each order that names an amount in that currency; under "" the last without one
    refunds, lines  sums per moment
    updated     the last new total of each order in that currency
    cancelled   order key → last cancellation, ms
    cancel      the last cancellation of any order
    horizon     (ms, order key): what is not above it is forgotten; None: nothing is
    """

    bought: Last = {}
    refunds: Sums = {}
    lines: Sums = {}
    updated: Last = {}
    cancelled: dict[str, int] = {}
    cancel: Clock | None = None
    horizon: tuple[int, str] | None = None


# Flat pairs [place of a measure in Catalogue.tallied, what is added up and never 0, …], ascending, behind the ms.
Telling: TypeAlias = list[int]


class Tally(msgspec.Struct, array_like=True, dict=True):
    """What measures add up of orders that have an id. `tally` is the only writer.

    told    order key → last telling of the whole order of which something counts
    lines   order key → its lines, one telling per moment, ascending
    """

    told: dict[str, Telling] = {}
    lines: dict[str, list[Telling]] = {}


class Part(msgspec.Struct, array_like=True):
    """The fold of one node's events; flat in their number. `fold` is the only writer.

    purchase, first_purchase  the last and the first purchase event of any order, cancelled or not
    book          its orders; None before the first
    money         currency → what refunds without an order take away, per day
    counters      event name → count per day; names beyond the limit share the name "" (see fold)
    writes        trait fields grouped by the event that won them, ascending by (ms, event id, source)
    once          the same of fields that only count where nobody has set them, the earliest wins
    identifiers   masked identifiers seen with this node, sorted
    measures      counter that looks into properties → sum per day (see tagging.measures), but for orders with an id
    months        interactions per calendar month (tagging.months.month_of), the last MONTHS of them
    measured      version of the measures that have seen every event of this part, "" for none
    tally         what measures add up of orders with an id; None: nothing yet
    """

    first: Clock
    newest_day: int
    last_ms: int
    events: int = 0
    interaction: Clock | None = None
    purchase: Clock | None = None
    first_purchase: Clock | None = None
    login: Clock | None = None
    registered: Clock | None = None
    response: Clock | None = None
    book: Book | None = None
    money: dict[str, Ring] = {}
    counters: dict[str, Ring] = {}
    writes: list[Write] = []
    identifiers: list[str] = []
    measures: dict[str, Ring] = {}
    measured: str = ""
    months: Ring = msgspec.field(default_factory=Ring)
    once: list[Write] = []
    tally: Tally | None = None


class TagState(msgspec.Struct, array_like=True, frozen=True):
    """A held tag: since when, the place of the record that began it (or set its clock), and why, in English."""

    since_ms: int
    anchor: str
    reason: str


class Conclusion(msgspec.Struct, array_like=True, frozen=True):
    """What is held true of a customer: tag name → state, exactly one lifecycle stage and since when.

    defined: version of the catalogue that it was drawn by.
    """

    tags: dict[str, TagState] = {}
    stage: str = ""
    stage_since_ms: int = 0
    defined: str = ""


class Changes(msgspec.Struct, frozen=True):
    """What one record changed.

    `tags_added` holds (name, anchor, reason); `stage_from` is "" for a customer nobody knew before.
    """

    tags_added: tuple[tuple[str, str, str], ...]
    tags_removed: tuple[str, ...]
    stage_from: str
    stage_to: str

    def is_empty(self) -> bool:
        """True when neither a tag nor the stage changed."""
        return not self.tags_added and not self.tags_removed and self.stage_from == self.stage_to


class Thresholds(msgspec.Struct, array_like=True, frozen=True):
    """Cut points of the buyers' population, all four ascending, and two cuts for "the top".

    A score is 1 + floor(5 × share of buyers strictly worse). Frequency and spend: 1 + the number of cuts < value.
    Recency: 1 + the number of cuts > days. So equal values share the lower score, also for values the population did
    not hold. `composite_top`: at least this R+F+M is the top; `monetary_top`: more than this spend (minor units) is
    the top.

    Percentiles are 99 cuts each, ascending: a value is more than cut k (counted from 1) exactly if at least k % of them
    are strictly less than it; so ties share the lower side, and cut 90 of spend is `monetary_top`. Of net spend
    in the RFM window, of the same of buyers with exactly one purchase in it (empty: there is none), and of R+F+M.
    """

    version: int
    buyers: int
    recency_days: tuple[int, int, int, int]
    frequency: tuple[int, int, int, int]
    monetary_minor: tuple[int, int, int, int]
    composite_top: int
    monetary_top: int
    spend_percentiles: tuple[int, ...] = ()
    first_order_percentiles: tuple[int, ...] = ()
    composite_percentiles: tuple[int, ...] = ()


class Rfm(msgspec.Struct, frozen=True, gc=False):
    """RFM values and scores of one customer; scores are 0 (unknown) without thresholds or without a purchase."""

    recency_days: int
    frequency: int
    monetary_minor: int
    currency: str
    r: int
    f: int
    m: int
    thresholds_version: int
    next_day: int


class View(msgspec.Struct, gc=False):
    """The merge of a customer's parts as of one business day; days are None when the thing never happened.

    activity_ms/_day/_place  last interaction or purchase, else the first touchpoint (`is_active` False)
    lapse_day/_place     last login, registration or purchase
    churn_ms/_day/_place  last login, purchase or response; for people who never logged in or bought, the last
                         activity
    frequency            distinct orders in the RFM window; `oldest_order_day` the first of them to leave it
    net_minor            net spend in the window in `currency`; `oldest_money_day` the first day to leave it
    clocks               moments merged over all parts; its rings stay empty
    """

    parts: tuple[Part, ...]
    now_ms: int
    today: int
    events: int
    first_ms: int
    last_ms: int
    first_place: str
    is_active: bool
    activity_ms: int
    activity_day: int
    activity_place: str
    churn_ms: int
    churn_day: int
    churn_place: str
    lapse_day: int | None
    lapse_place: str
    purchase_day: int | None
    purchase_place: str
    first_purchase_day: int | None
    registered_day: int | None
    has_repeated: bool
    frequency: int
    oldest_order_day: int | None
    currency: str
    net_minor: int
    oldest_money_day: int | None
    purchase_ms: int
    first_purchase_ms: int
    clocks: Part


def encode(value: Part | Conclusion | Thresholds) -> bytes:
    """Canonical msgpack bytes: equal content gives equal bytes, whatever the order in which it came about."""
    return ENCODER.encode(value)


def decode_thresholds(data: bytes) -> Thresholds:
    """Read `encode(thresholds)`; raises msgspec.ValidationError or DecodeError on other bytes."""
    return _THRESHOLDS.decode(data)


_THRESHOLDS = msgspec.msgpack.Decoder(Thresholds)
