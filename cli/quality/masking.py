"""Values of traits for people: shown where they say nothing of a person, masked otherwise."""

import json
import re

from services.profile.core.contribution import mask

# Everything that is not known to be harmless is masked: a source may call a phone number what it likes.
_HARMLESS = frozenset(
    ("province", "state", "region", "city", "country", "province_code", "state_code", "region_code", "city_code",
     "language", "locale", "currency", "time_zone", "timezone", "timestamp", "originalTimestamp", "total", "revenue",
     "value", "amount")
)  # fmt: skip
_PHONE = re.compile(r"\+[0-9]{8,15}")
_MAX_CHARS = 40


def shown(field: str, raw: str) -> str:
    """A JSON value of a field as people may see it. `field`: a trait, or a path as in `originals`."""
    if raw in ("", "null"):
        return "none"
    value = _decoded(raw)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return f"{{{len(value)} fields}}" if isinstance(value, dict) else f"[{len(value)} values]"
    text = str(value)
    # Only what stands under a harmless name and has no form of an address or a long number.
    if field.rpartition(".")[2] in _HARMLESS and "@" not in text and sum(map(str.isdigit, text)) < 18:
        return text[:_MAX_CHARS]
    return masked(text)


def masked(text: str) -> str:
    """At least half of the characters hidden; of a standard phone number the four before the last four."""
    if _PHONE.fullmatch(text):
        return mask(f"phone:{text}").partition(":")[2]
    local, at, domain = text.rpartition("@")
    if at and local and "." in domain and " " not in text:
        return mask(f"email:{text}").partition(":")[2]
    hidden = mask(f":{text.replace('/', '|')}")
    return hidden.removeprefix(":")


def _decoded(raw: str) -> object:
    try:
        return json.loads(raw)
    except ValueError:
        return raw
