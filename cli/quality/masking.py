"""Values of traits for people: shown where they say nothing of a person, masked otherwise."""

import json
import re
from collections.abc import Callable
from functools import cache
from zoneinfo import available_timezones

from services.ingest.core.regions import find_city, find_province
from services.profile.core.contribution import mask

_PHONE = re.compile(r"\+[0-9]{8,15}")
_HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U000323af]")
_COUNTRY = re.compile(r"[A-Za-z]{2,3}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z]{4})?([-_]([A-Za-z]{2}|[0-9]{3}))?")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?)?([Zz]|[+-][0-9:]{5})?"
)
_OFFSET = re.compile(r"UTC|[+-][0-9]{2}:?[0-9]{2}")
# Seconds and ms since 1970, of the years until 2033: a phone number of 11 digits is neither.
_EPOCH = re.compile(r"1[0-9]{9}|1[0-9]{12}")
# Seven digits before the point are a landline's number in many cities: mask from there on.
LEAST_NUMBER = 1_000_000
_MOST_DECIMALS = 4


def _is_region(value: object) -> bool:
    """A province or city by any name or code that GB/T 2260 knows."""
    text = str(value)
    return find_province(text) is not None or find_city(text) is not None


def _is_amount(value: object) -> bool:
    """A number, and none that may be somebody's: not in a text, and not a long one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= LEAST_NUMBER:
        return False
    return len(str(value).partition(".")[2]) <= _MOST_DECIMALS


def _is_time(value: object) -> bool:
    return any(form.fullmatch(str(value)) for form in (_TIME, _EPOCH))


def _is_zone(value: object) -> bool:
    return str(value) in _zones() or _OFFSET.fullmatch(str(value)) is not None


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _like(form: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: form.fullmatch(str(value)) is not None


# What is not known to be harmless is masked: a source may call a phone number what it likes. The name only says which
# values may be shown, and the value has to be one.
HARMLESS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("province", "state", "region", "city"), _is_region),
    **dict.fromkeys(("province_code", "state_code", "region_code", "city_code"), _is_region),
    **dict.fromkeys(("total", "revenue", "value", "amount"), _is_amount),
    **dict.fromkeys(("timestamp", "originalTimestamp"), _is_time),
    **dict.fromkeys(("time_zone", "timezone"), _is_zone),
    **dict.fromkeys(("language", "locale"), _like(_LANGUAGE)),
    **dict.fromkeys(("country", "currency"), _like(_COUNTRY)),
}


def shown(field: str, raw: str) -> str:
    """A JSON value of a field as people may see it. `field`: a trait, or a path as in `originals`."""
    if raw in ("", "null"):
        return "none"
    value = _decoded(raw)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return f"{{{len(value)} fields}}" if isinstance(value, dict) else f"[{len(value)} values]"
    is_harmless = HARMLESS.get(field.rpartition(".")[2])
    return str(value) if is_harmless is not None and is_harmless(value) else masked(str(value))


def masked(text: str) -> str:
    """At least half of the characters hidden; of a standard phone number the four before the last four.

    Of a text with Chinese characters nothing is left: two of them are a name.
    """
    if _PHONE.fullmatch(text):
        return mask(f"phone:{text}").partition(":")[2]
    local, at, domain = text.rpartition("@")
    if at and local and "." in domain and " " not in text:
        return mask(f"email:{text}").partition(":")[2]
    if _HAN.search(text):
        return "****"
    hidden = mask(f":{text.replace('/', '|')}")
    return hidden.removeprefix(":")


def _decoded(raw: str) -> object:
    try:
        return json.loads(raw)
    except ValueError:
        return raw
