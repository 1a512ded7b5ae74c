"""What is compared of a customer: one flat row of normalised values per customer, None = not known.

Pure: traits and masked identifiers in, a row out. Every column that a comparison or a blocking key reads is made here.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date

from cli.suggest.names import Name, blurred, parse_name, plain

# Traits by the names that sources give them; the first one that holds something counts.
_WHOLE = ("name", "full_name", "fullName", "real_name", "realName", "姓名")
_GIVEN = ("first_name", "firstName", "given_name", "givenName")
_FAMILY = ("last_name", "lastName", "family_name", "familyName", "surname")
_BIRTH = ("birthday", "birth_date", "birthDate", "date_of_birth", "dateOfBirth", "dob", "生日")
_RESIDENT = ("resident_id", "id_card", "idCard", "identity_card")
_PHONE = ("phone", "mobile", "mobile_phone", "mobilePhone", "phone_number", "phoneNumber", "tel", "telephone")
_EMAIL = ("email", "mail", "email_address", "emailAddress")
_CITY = ("city_code", "city")
_PROVINCE = ("province_code", "state_code", "region_code", "province", "state", "region")
_POSTCODE = ("postcode", "postal_code", "postalCode", "zip", "zip_code", "zipCode")
_DATE = re.compile(r"(\d{4})\s*[-/.年]?\s*(\d{1,2})\s*[-/.月]?\s*(\d{1,2})日?(?:[T\s].*)?")
# A birthday before this is a placeholder; nobody who was born then is a customer.
_FIRST_YEAR = 1905
# A name or a birthday that more than this share of the customers has (and more than so many) stands for "unknown" too
# (微信用户, Guest, 1 January 1990). 张伟 is three in ten thousand. Lower: common names count as unknown in small
# populations. Higher: one placeholder makes every agreement of names look like chance.
_PLACEHOLDER_SHARE, _PLACEHOLDER_LEAST = 0.01, 20


@dataclass(frozen=True, slots=True)
class Features:
    """One row. name: given and family name as written; whole, turned, given, family: sounds (cli/suggest/names.py)."""

    customer_id: str
    name: str | None = None
    whole: str | None = None
    turned: str | None = None
    given: str | None = None
    family: str | None = None
    given_blurred: str | None = None
    family_blurred: str | None = None
    is_han: bool = False
    birth: str | None = None
    birth_turned: str | None = None
    phone: str | None = None
    phone8: str | None = None
    phone7: str | None = None
    phone4: str | None = None
    email: str | None = None
    email_local: str | None = None
    city: str | None = None
    province: str | None = None
    postcode: str | None = None


COLUMNS = tuple(field.name for field in fields(Features))


def features_of(customer_id: str, traits: Mapping[str, object], masked: Iterable[str] = ()) -> Features:
    """The row of a customer. `masked`: identifiers as the profile shows them; they yield the last digits of a phone."""
    name = parse_name(_text(traits, _WHOLE), _text(traits, _GIVEN), _text(traits, _FAMILY))
    birth = birth_of(_text(traits, _BIRTH)) or birth_of(_text(traits, _RESIDENT)[6:14])
    phone = re.sub(r"\D", "", _text(traits, _PHONE))
    tail = phone or _visible_tail(masked)
    email = plain(_text(traits, _EMAIL))
    address = traits.get("address")
    places = {**address, **traits} if isinstance(address, dict) else traits
    city = _text(places, _CITY)
    row = Features(
        customer_id,
        birth=birth,
        birth_turned=_turned(birth),
        phone=phone or None,
        phone8=_tail(phone, 8),
        phone7=_tail(phone, 7),
        phone4=_tail(tail, 4),
        email=email if "@" in email else None,
        email_local=local_part(email),
        city=plain(city) or None,
        # The code of a Chinese city begins with its province's.
        province=plain(_text(places, _PROVINCE)) or (f"{city[:2]}0000" if re.fullmatch(r"\d{6}", city) else None),
        postcode=plain(_text(places, _POSTCODE)) or None,
    )
    return _named(row, name) if name else row


def without_placeholders(rows: Sequence[Features]) -> list[Features]:
    """The rows, and not known is the name or the birthday that too many of them have to be anybody's."""
    most = max(_PLACEHOLDER_LEAST, _PLACEHOLDER_SHARE * len(rows))
    names = {value for value, n in Counter(row.whole for row in rows).items() if value and n > most}
    births = {value for value, n in Counter(row.birth for row in rows).items() if value and n > most}
    return [_unknown(row, row.whole in names, row.birth in births) for row in rows]


def _unknown(row: Features, name: bool, birth: bool) -> Features:
    if name:
        row = replace(
            row, name=None, whole=None, turned=None, given=None, family=None, given_blurred=None, family_blurred=None
        )
    return replace(row, birth=None, birth_turned=None) if birth else row


def birth_of(text: str) -> str | None:
    """2001-02-03 of the usual ways to write a day, year first; None when it is none or stands for "unknown"."""
    found = _DATE.fullmatch(text.strip())
    if not found:
        return None
    try:
        day = date(*(int(part) for part in found.groups()))
    except ValueError:
        return None
    return day.isoformat() if day.year >= _FIRST_YEAR else None


def local_part(email: str) -> str | None:
    """What stands before the @ without dots, dashes and what follows a plus: the same mailbox to most providers."""
    local, at, _ = email.rpartition("@")
    bare = re.sub(r"[._-]", "", local.partition("+")[0])
    return (bare or None) if at else None


def _named(row: Features, name: Name) -> Features:
    return replace(
        row,
        name=f"{name.given}|{name.family}",
        whole=name.whole or None,
        turned=name.turned or None,
        given=name.given_sound or None,
        family=name.family_sound or None,
        given_blurred=blurred(name.given_sound) or None,
        family_blurred=blurred(name.family_sound) or None,
        is_han=name.is_han,
    )


def _turned(birth: str | None) -> str | None:
    """The same day with day and month exchanged; None where that is no other day."""
    if birth is None:
        return None
    year, month, day = birth.split("-")
    return f"{year}-{day}-{month}" if day <= "12" and day != month else None


def _visible_tail(masked: Iterable[str]) -> str:
    """The digits of the first masked phone number that are shown at its end: phone:+86138****5678."""
    for identifier in masked:
        kind, _, value = identifier.partition(":")
        if kind == "phone":
            return value.rpartition("*")[2]
    return ""


def _tail(digits: str, length: int) -> str | None:
    return digits[-length:] if len(digits) >= length else None


def _text(traits: Mapping[str, object], names: tuple[str, ...]) -> str:
    for name in names:
        value = traits.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and (text := str(value).strip()):
            return text
    return ""
