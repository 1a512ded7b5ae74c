"""What the decisions need besides state and time: time zone, windows, what event names mean, the catalogue of tags.

Values only; configuration.py makes them of what operators write.
"""

from typing import Annotated, NamedTuple

import msgspec

from services.profile.core.calendar import Calendar
from services.profile.core.tagging.catalogue import Catalogue

# What an event means, as bits of `ProfileConfig.kinds`. A line is a purchase, too. Updates and cancellations are what
# the shop does with an order: no interaction.
PURCHASE, REFUND, LOGIN, REGISTRATION, RESPONSE, INTERACTION = 1, 2, 4, 8, 16, 32
UPDATE, CANCELLATION, LINE = 64, 128, 256
ORDERS = PURCHASE | REFUND | UPDATE | CANCELLATION

# Days kept per counter. 35 more than the longest window, so that a clock slightly ahead prunes nothing a window still
# needs.
RING_DAYS = 400
MAX_WINDOW_DAYS = 365

LifetimeOrDays = Annotated[int, msgspec.Meta(ge=0, le=MAX_WINDOW_DAYS)]


class Windows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lengths in business days, today included; rfm 0: all time."""

    rfm: LifetimeOrDays = 365


class Rate(NamedTuple):
    """minor units of the main currency = minor units of another × numerator / denominator."""

    numerator: int
    denominator: int


class ProfileConfig(msgspec.Struct, frozen=True):
    """Everything the decisions need besides state and time.

    `kinds` maps an event name to its bits; `passive` are the names that are no interaction; `unit`: minor units in one
    major unit of the currency; `rates` has the currencies that are converted into `currency`.
    """

    calendar: Calendar
    currency: str
    windows: Windows
    kinds: dict[str, int]
    passive: frozenset[str]
    unit: int
    catalogue: Catalogue
    rates: dict[str, Rate] = {}
