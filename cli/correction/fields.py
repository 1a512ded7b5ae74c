"""What a correction says, in standard form: FIELD=VALUE texts → traits, by ingest's own rules. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.ingest.core.envelope import encode_json
from services.ingest.core.identifiers import Identifiers
from services.ingest.core.problems import CODES
from services.ingest.core.source import Source
from services.ingest.core.standardise import Standardiser

MAX_BYTES = 16 * 1024
MAX_NAME_CHARS = 200
# A landline is a good phone number of a person; it only identifies nobody, which a correction does not ask of it.
_HARMLESS = frozenset({"phone_not_mobile"})
# Fields that standardising adds beside another one. Where the new value has none, the former must not stay.
_DERIVED = ("province", "state", "region", "city")


class RefusedError(ValueError):
    """The correction is not valid; the text names every field and the rule it breaks."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field: what the profile says (None: nothing), what it is to say (None: nothing), and as it was typed."""

    field: str
    former: Any
    value: Any
    given: Any

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {"field": self.field, "former": self.former, "value": self.value, "given": self.given}


def parse(texts: Sequence[str]) -> dict[str, Any]:
    """FIELD=TEXT and FIELD:=JSON → fields. Raises RefusedError."""
    fields: dict[str, Any] = {}
    wrong = []
    for text in texts:
        name, sign, value = text.partition("=")
        is_json = name.endswith(":")
        name = name.removesuffix(":").strip()
        if not sign or not name or len(name) > MAX_NAME_CHARS:
            wrong.append(f"{text!r}: expected FIELD=VALUE, or FIELD:=JSON")
        elif name.startswith("$"):
            wrong.append(f"{name}: names with $ are instructions of sources, no fields")
        elif name in fields:
            wrong.append(f"{name}: given twice")
        elif is_json:
            try:
                fields[name] = json.loads(value, parse_constant=_no_constant)
            except ValueError as error:
                wrong.append(f"{name}: no JSON: {error}")
        elif not value.strip():
            wrong.append(f"{name}: no value; to have none, write {name}:=null")
        else:
            fields[name] = value.strip()
    if wrong or not fields:
        raise RefusedError("; ".join(wrong) or "no FIELD=VALUE is given")
    return fields


def changes(given: Mapping[str, Any], profile: Mapping[str, Any], region: str) -> list[Change]:
    """What would change of a profile's traits, standardised as ingest does it. Raises RefusedError.

    region: country of phone numbers without a country code. Fields that say already what is asked are left out.
    """
    standard = _standardised(given, region)
    for name in _DERIVED:
        if name in given and name + "_code" in profile:
            standard.setdefault(name + "_code", None)
    found = [
        Change(name, profile.get(name), value, given.get(name))
        for name, value in standard.items()
        if _differs(profile.get(name), value)
    ]
    if not found:
        raise RefusedError(f"the profile says so already: {', '.join(given)}")
    return found


def overtaken(asked: Sequence[Change], profile: Mapping[str, Any]) -> list[Change]:
    """Those of which the profile says something else now: neither what it said when asked, nor what it is to say."""
    return [
        one for one in asked
        if _differs(now := profile.get(one.field), one.former) and _differs(now, one.value)
    ]  # fmt: skip


def _standardised(given: Mapping[str, Any], region: str) -> dict[str, Any]:
    source = Source("operator", region=region, phone_identifies=False)
    found = Identifiers(source)
    traits: dict[str, Any] = dict(given)
    try:
        size = len(encode_json(traits))
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise RefusedError(f"{', '.join(given)}: cannot be written: {error}") from None
    if size > MAX_BYTES:
        raise RefusedError(f"{size} bytes, at most {MAX_BYTES}")
    Standardiser(traits, source, found).run()
    wrong = [one for one in found.problems if one.code not in _HARMLESS]
    if wrong:
        told = (f"{one.field.removeprefix('traits.')}: {one.code}: {one.message} ({CODES[one.code]})" for one in wrong)
        raise RefusedError("; ".join(told))
    return traits


def _differs(first: Any, second: Any) -> bool:
    # As JSON: 1 and true are not the same, 1 and 1.0 may count as a change.
    return json.dumps(first, sort_keys=True) != json.dumps(second, sort_keys=True)


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")
