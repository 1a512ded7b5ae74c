"""The checked profile configuration, from what deploy/config/profile.yaml and tags.yaml say.

The adapter reads the files; this module turns their content into `ProfileConfig` or says which key is wrong and what
was expected. Vocabularies decide when an event is folded (its clocks), so a changed vocabulary counts for later
events; windows and conditions count at once.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from typing import Annotated

import iso4217
import msgspec

from services.profile.core.calendar import Calendar, CalendarError
from services.profile.core.config import (
    CANCELLATION,
    INTERACTION,
    LINE,
    LOGIN,
    ORDERS,
    PURCHASE,
    REFUND,
    REGISTRATION,
    RESPONSE,
    UPDATE,
    ProfileConfig,
    Rate,
    Windows,
)
from services.profile.core.tagging.catalogue import Catalogue
from services.profile.core.tagging.definitions import parse_catalogue

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
# Digits after the point: CNY 2, JPY 0, KWD 3.
_EXPONENTS = {one.code: one.exponent or 0 for one in iso4217.Currency}
# Names that ingest gives to touchpoints in which nobody does anything.
NO_ACTION = ("Identified", "Aliased", "Group Joined")


class ConfigError(ValueError):
    """The configuration is wrong; the text names the key, what was expected and what was found."""


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


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fixed table: what one unit of a currency is in the main one, as of a day."""

    as_of: date
    to_main: dict[Currency, Decimal]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    time_zone: Name | None = None
    currency: Currency = "CNY"
    rates: Rates | None = None
    windows_days: Windows = Windows()
    events: Vocabulary = Vocabulary()


def parse_config(
    data: Mapping[str, object] | None, tags: object, default_time_zone: str = "Asia/Shanghai"
) -> ProfileConfig:
    """The configuration of a parsed profile.yaml (None or {}: all defaults) and tags.yaml.

    `time_zone` in the file beats the argument. Raises ConfigError, and DefinitionsError for tags.yaml.
    """
    try:
        file = msgspec.convert({} if data is None else data, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(f"profile.yaml: {error}") from error
    if not file.events.purchase:
        raise ConfigError("profile.yaml: events.purchase: expected at least one event name, got an empty list")
    if file.currency not in _EXPONENTS:
        raise ConfigError(f"profile.yaml: currency: expected a code of ISO 4217, got {file.currency!r}")
    try:
        calendar = Calendar(file.time_zone or default_time_zone)
    except CalendarError as error:
        raise ConfigError(f"profile.yaml: {error}") from error
    return ProfileConfig(
        calendar=calendar,
        currency=file.currency,
        windows=file.windows_days,
        kinds=_kinds(file.events),
        passive=frozenset((*file.events.quiet, *file.events.update, *file.events.cancellation, *NO_ACTION)),
        unit=10 ** _EXPONENTS[file.currency],
        catalogue=_of_this_file(parse_catalogue(tags, calendar), file),
        rates={} if file.rates is None else _rates(file.rates, file.currency),
    )


def _of_this_file(catalogue: Catalogue, file: _File) -> Catalogue:
    """The catalogue with a version of this file, too: what it counts at once changes what every definition says.

    So everybody is looked at again, and what changes by it is no news of the customer's.
    """
    said = (catalogue.version, file.currency, file.windows_days, file.rates)
    version = blake2b(msgspec.json.encode(said, order="deterministic"), digest_size=6).hexdigest()
    return replace(catalogue, version=version)


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
