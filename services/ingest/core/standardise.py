"""Traits in their standard form: which field is what, the standard value in its place, the original beside it."""

from collections.abc import Callable
from functools import lru_cache

from stdnum.cn import ric
from stdnum.exceptions import ValidationError

from services.ingest.core.identifiers import EXTERNAL_TYPES, SCOPES, Identifiers, identifier_text, is_placeholder
from services.ingest.core.mail import standardise_email
from services.ingest.core.phone import PLACEHOLDER_PHONES, standardise_phone
from services.ingest.core.problems import Problem
from services.ingest.core.regions import find_city, find_province
from services.ingest.core.source import Source

Json = dict[str, object]
_CHINA = frozenset({"", "cn", "chn", "china", "中国", "中华人民共和国", "prc"})


class Standardiser:
    """Works through the traits of one event. `originals` and `identifiers` hold what it found."""

    __slots__ = ("identifiers", "originals", "problems", "source", "traits")

    def __init__(self, traits: Json, source: Source, identifiers: Identifiers) -> None:
        self.traits = traits
        self.source = source
        self.identifiers = identifiers
        self.originals: Json = {}
        self.problems: list[Problem] = identifiers.problems

    def run(self) -> None:
        """Standardise every known trait. Idempotent: its result passes through unchanged."""
        for name in [name for name in self.traits if name in _HANDLERS]:
            value = self.traits[name]
            if value is not None and value != "":
                _HANDLERS[name](self, name, value)

    def _replace(self, name: str, value: object, standard: object) -> None:
        if standard != value:
            self.originals["traits." + name] = value
            self.traits[name] = standard

    def _refuse(self, name: str, value: object, code: str, message: str) -> None:
        """An invalid value is no trait: it leaves the traits and is kept as the original only."""
        self.originals["traits." + name] = value
        del self.traits[name]
        self.problems.append(Problem(code, "traits." + name, message))

    def phone(self, name: str, value: object, identifies: bool = True) -> None:
        """To E.164; a mobile number is an identifier where the source says so."""
        phone = standardise_phone(identifier_text(value) or "", self.source.region)
        if phone is None:
            text = f"no valid number (without +country it is read as one of {self.source.region})"
            self._refuse(name, value, "phone_invalid", text)
        elif phone.e164 in PLACEHOLDER_PHONES:
            self._refuse(name, value, "identifier_placeholder", "a number that stands for no number")
        else:
            self._replace(name, value, phone.e164)
            if identifies and self.source.phone_identifies:
                if phone.is_mobile:
                    self.identifiers.take("phone", phone.e164)
                else:
                    self.problems.append(Problem("phone_not_mobile", "traits." + name, "a landline identifies nobody"))

    def landline(self, name: str, value: object) -> None:
        """To E.164, never an identifier."""
        self.phone(name, value, identifies=False)

    def email(self, name: str, value: object) -> None:
        """Syntax checked, domain in lower case; an identifier."""
        text = value.strip() if isinstance(value, str) else ""
        email = standardise_email(text)
        if email is None:
            is_empty = is_placeholder(text) if text else False
            code = "identifier_placeholder" if is_empty else "email_invalid"
            self._refuse(name, value, code, "no valid e-mail address")
        else:
            self._replace(name, value, email)
            self.identifiers.take("email", email)

    def external(self, name: str, value: object) -> None:
        """unionid, openid, external_userid: identifiers, the latter two within their scope."""
        kind = _KINDS[name]
        scope = next((self.traits[key] for key in SCOPES.get(kind, ()) if self.traits.get(key)), None)
        self.identifiers.add(kind, value, "traits." + name, scope)

    def resident_id(self, name: str, value: object) -> None:
        """Checksum of GB 11643; kept without blanks and with a capital X."""
        number = _resident_id(identifier_text(value) or "")
        if number is None:
            self._refuse(name, value, "resident_id_invalid", "18 characters with the checksum of GB 11643 expected")
        else:
            self._replace(name, value, number)

    def province(self, name: str, value: object) -> None:
        """One name, and its code in <name>_code. A region outside China stays as it is."""
        region = find_province(value) if isinstance(value, str) and self._is_in_china() else None
        if region:
            self._replace(name, value, region.name)
            self.traits[name + "_code"] = region.code

    def city(self, name: str, value: object) -> None:
        """One name, and its code in <name>_code. A city that GB/T 2260 does not list stays as it is."""
        region = find_city(value) if isinstance(value, str) and self._is_in_china() else None
        if region:
            self._replace(name, value, region.name)
            self.traits[name + "_code"] = region.code

    def address(self, name: str, value: object) -> None:
        """Segment's nested form {state, city, country}, treated like the flat fields."""
        if not isinstance(value, dict):
            return
        inner = Standardiser(dict(value), self.source, self.identifiers)
        for field in ("state", "province", "city"):
            if inner.traits.get(field):
                (inner.city if field == "city" else inner.province)(field, inner.traits[field])
        self.traits[name] = inner.traits
        for path, original in inner.originals.items():
            self.originals[path.replace("traits.", f"traits.{name}.", 1)] = original

    def _is_in_china(self) -> bool:
        country = self.traits.get("country")
        return country is None or (isinstance(country, str) and country.strip().lower() in _CHINA)


@lru_cache(maxsize=4_096)
def _resident_id(text: str) -> str | None:
    try:
        return str(ric.validate(text))
    except ValidationError:
        return None


_KINDS = {
    "unionid": "union_id", "union_id": "union_id", "unionId": "union_id",
    "openid": "openid", "open_id": "openid", "openId": "openid",
    "external_userid": "external_userid", "external_user_id": "external_userid", "externalUserId": "external_userid",
}  # fmt: skip

_Handler = Callable[[Standardiser, str, object], None]
_FIELDS: tuple[tuple[_Handler, tuple[str, ...]], ...] = (
    (Standardiser.phone, ("phone", "mobile", "mobile_phone", "phone_number", "phoneNumber", "mobilePhone")),
    (Standardiser.landline, ("tel", "telephone", "landline", "home_phone", "work_phone")),
    (Standardiser.email, ("email", "mail", "email_address", "emailAddress")),
    (Standardiser.external, tuple(_KINDS)),
    (Standardiser.resident_id, ("resident_id", "id_card", "idCard", "identity_card")),
    (Standardiser.province, ("province", "state", "region")),
    (Standardiser.city, ("city",)),
    (Standardiser.address, ("address",)),
)
_HANDLERS = {name: handler for handler, names in _FIELDS for name in names}


def add_external_ids(entries: object, source: Source, identifiers: Identifiers) -> None:
    """context.externalIds [{id, type}]: phones and e-mails pass the same rules as the traits, other types are left."""
    if not isinstance(entries, list):
        return
    for place, entry in enumerate(entries[:50]):
        kind = EXTERNAL_TYPES.get(str(entry.get("type")).lower()) if isinstance(entry, dict) else None
        if kind is None:
            continue
        value, field = entry.get("id"), f"context.externalIds[{place}]"
        if kind in ("phone", "email"):
            inner = Standardiser({kind: value}, source, identifiers)
            before = len(identifiers.problems)
            inner.run()
            identifiers.problems[before:] = [p._replace(field=field) for p in identifiers.problems[before:]]
        else:
            scope = next((entry[key] for key in SCOPES.get(kind, ()) if entry.get(key)), None)
            identifiers.add(kind, value, field, scope)
