"""The checked profile configuration: time zone, windows, limits and event vocabularies (deploy/config/profile.yaml).

The adapter reads the file; this module turns its content into `ProfileConfig` or says which key is wrong and what was
expected. Vocabularies decide when an event is folded (its clocks), so a changed vocabulary counts for later events;
windows and limits count at once.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, NamedTuple

import iso4217
import msgspec

from services.profile.core.calendar import Calendar, CalendarError

# What an event means, as bits of `ProfileConfig.kinds`. A line is a purchase, too. Updates and cancellations are what
# the shop does with an order: no interaction.
PURCHASE, REFUND, LOGIN, REGISTRATION, RESPONSE, INTERACTION = 1, 2, 4, 8, 16, 32
UPDATE, CANCELLATION, LINE = 64, 128, 256
ORDERS = PURCHASE | REFUND | UPDATE | CANCELLATION

# Days kept per counter. 35 more than the longest window, so that a clock slightly ahead prunes nothing a window still
# needs.
RING_DAYS = 400
MAX_WINDOW_DAYS = 365

# Digits after the point: CNY 2, JPY 0, KWD 3.
_EXPONENTS = {one.code: one.exponent or 0 for one in iso4217.Currency}

Days = Annotated[int, msgspec.Meta(ge=1, le=3650)]
WindowDays = Annotated[int, msgspec.Meta(ge=1, le=MAX_WINDOW_DAYS)]
LifetimeOrDays = Annotated[int, msgspec.Meta(ge=0, le=MAX_WINDOW_DAYS)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Score = Annotated[int, msgspec.Meta(ge=1, le=5)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class ConfigError(ValueError):
    """The configuration is wrong; the text names the key, what was expected and what was found."""


class Windows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lengths in business days, today included; rfm 0: all time."""

    rfm: LifetimeOrDays = 365
    interactive: WindowDays = 90


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where tags and stages begin and end; `_days` count whole business days."""

    new_customer_days: Days = 30
    newcomer_days: Days = 30
    login_lapsed_days: Days = 30
    at_risk_days: Days = 90
    dormant_days: Days = 180
    churned_days: Days = 365
    loyal_purchases: Count = 4
    loyal_days: Days = 90
    interactive_count: Count = 5
    potential_value_score: Score = 4
    potential_recency_score: Annotated[int, msgspec.Meta(ge=1, le=4)] = 2


class Vocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Event names by meaning. Tracks, pages and screens are interactions, except `quiet`, `update`, `cancellation`."""

    purchase: tuple[Name, ...] = ("Order Completed",)
    purchase_line: tuple[Name, ...] = ("Order Line Completed",)
    refund: tuple[Name, ...] = ("Order Refunded",)
    update: tuple[Name, ...] = ("Order Updated",)
    cancellation: tuple[Name, ...] = ("Order Cancelled",)
    login: tuple[Name, ...] = ("Logged In", "Signed In")
    registration: tuple[Name, ...] = ("Registered", "Signed Up")
    response: tuple[Name, ...] = (
        "Message Opened",
        "Message Clicked",
        "Message Replied",
        "Email Opened",
        "Email Link Clicked",
        "Push Notification Tapped",
        "Promotion Clicked",
        "Coupon Applied",
        "Campaign Attended",
    )
    service: tuple[Name, ...] = ("Service Ticket Opened", "Message Replied", "Sales Visit Logged", "Satisfaction Rated")
    social: tuple[Name, ...] = (
        "Content Shared",
        "Product Shared",
        "Cart Shared",
        "Product Reviewed",
        "Member Activity Joined",
    )
    quiet: tuple[Name, ...] = (
        "Message Sent",
        "Message Delivered",
        "Message Bounced",
        "Email Delivered",
        "Email Bounced",
        "Email Marked as Spam",
        "Push Notification Received",
        "Unsubscribed",
    )


class Rate(NamedTuple):
    """minor units of the main currency = minor units of another × numerator / denominator."""

    numerator: int
    denominator: int


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fixed table: what one unit of a currency is in the main one, as of a day."""

    as_of: date
    to_main: dict[Currency, Decimal]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    time_zone: Name | None = None
    currency: Currency = "CNY"
    rates: Rates | None = None
    windows_days: Windows = Windows()
    limits: Limits = Limits()
    events: Vocabulary = Vocabulary()


class ProfileConfig(msgspec.Struct, frozen=True):
    """Everything the decisions need besides state and time.

    `kinds` maps an event name to its bits; `engaged` are the service and social names; `rates` has the currencies that
    are converted into `currency`.
    """

    calendar: Calendar
    currency: str
    windows: Windows
    limits: Limits
    kinds: dict[str, int]
    engaged: frozenset[str]
    rates: dict[str, Rate] = {}


def parse_config(data: Mapping[str, object] | None, default_time_zone: str = "Asia/Shanghai") -> ProfileConfig:
    """The configuration of a parsed profile.yaml (None or {}: all defaults).

    `time_zone` in the file beats the argument. Raises ConfigError.
    """
    try:
        file = msgspec.convert({} if data is None else data, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(f"profile.yaml: {error}") from error
    limits = file.limits
    if not limits.at_risk_days < limits.dormant_days < limits.churned_days:
        raise ConfigError(
            "profile.yaml: limits: expected at_risk_days < dormant_days < churned_days, "
            f"got {limits.at_risk_days}, {limits.dormant_days}, {limits.churned_days}"
        )
    if not file.events.purchase:
        raise ConfigError("profile.yaml: events.purchase: expected at least one event name, got an empty list")
    try:
        calendar = Calendar(file.time_zone or default_time_zone)
    except CalendarError as error:
        raise ConfigError(f"profile.yaml: {error}") from error
    return ProfileConfig(
        calendar=calendar,
        currency=file.currency,
        windows=file.windows_days,
        limits=limits,
        kinds=_kinds(file.events),
        engaged=frozenset(file.events.service + file.events.social),
        rates={} if file.rates is None else _rates(file.rates, file.currency),
    )


def _rates(rates: Rates, main: str) -> dict[str, Rate]:
    """Exact fractions between minor units."""
    table = {}
    for currency, rate in rates.to_main.items():
        if currency == main:
            raise ConfigError(f"profile.yaml: rates.to_main: expected other currencies than the main one, got {main}")
        for code in (currency, main):
            if code not in _EXPONENTS:
                raise ConfigError(f"profile.yaml: rates.to_main: expected ISO 4217 codes, got {code!r}")
        if not (rate.is_finite() and 0 < rate < 10**12):
            raise ConfigError(f"profile.yaml: rates.to_main.{currency}: expected a number above 0, got {rate}")
        exact = Fraction(rate) * 10 ** _EXPONENTS[main] / 10 ** _EXPONENTS[currency]
        table[currency] = Rate(exact.numerator, exact.denominator)
    return table


def _kinds(events: Vocabulary) -> dict[str, int]:
    """Bits per name; a name absent here is a plain interaction."""
    kinds: dict[str, int] = {}
    groups = (
        (events.purchase, PURCHASE | INTERACTION),
        (events.purchase_line, PURCHASE | LINE | INTERACTION),
        (events.refund, REFUND | INTERACTION),
        (events.update, UPDATE),
        (events.cancellation, CANCELLATION),
        (events.login, LOGIN | INTERACTION),
        (events.registration, REGISTRATION | LOGIN | INTERACTION),
        (events.response, RESPONSE | INTERACTION),
        (events.service + events.social, INTERACTION),
    )
    for names, bits in groups:
        for name in names:
            if kinds.get(name, 0) & ORDERS and bits & ORDERS:
                raise ConfigError(
                    f"profile.yaml: events: expected {name!r} under one of purchase, purchase_line, refund, update, "
                    "cancellation, got both"
                )
            kinds[name] = kinds.get(name, 0) | bits
    for name in events.quiet:
        # Updates and cancellations are quiet by nature: naming them here, too, is no mistake.
        if kinds.get(name, 0) not in (0, UPDATE, CANCELLATION):
            raise ConfigError(f"profile.yaml: events.quiet: expected names without another meaning, got {name!r} twice")
        kinds.setdefault(name, 0)
    return kinds
