"""Identifiers: cleaned values, placeholders left out, strongest kind first.

Order of strength: user_id, union_id, external_userid (per corp), phone, email, openid (per app), device_id,
anonymous_id.
"""

import re
from decimal import Decimal

from services.ingest.core.envelope import REPLACEMENT
from services.ingest.core.problems import Problem
from services.ingest.core.source import Source

MAX_IDENTIFIER_CHARS = 256
STRENGTH = ("user_id", "union_id", "external_userid", "phone", "email", "openid", "device_id", "anonymous_id")
# Kinds that mean something only within an app or a company, and the fields that name it.
SCOPES = {"openid": ("app_id", "appId", "appid"), "external_userid": ("corp_id", "corpId", "corpid")}
RANK = {kind: rank for rank, kind in enumerate(STRENGTH)}

# What uninitialised variables, broken joins and test scripts send in place of an id (as in the block lists of
# customer-data platforms), and what virtual Android devices and refused trackers give.
_WORDS = """null,nil,none,undefined,unknown,anonymous,anon,guest,visitor,default,test,testing,string,example,true,false,
n/a,na,nan,inf,infinity,(null),<null>,[null],[object object],{},[],0,-1,-1.0,0.0,id,userid,user_id,user-id,not_set,
not set,(not set),not applicable,lmy47d,9774d56d682e549c,02:00:00:00:00:00"""
PLACEHOLDERS = frozenset(word.strip() for word in _WORDS.split(","))
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
# As many times the same character as a mobile number has digits; shorter ones ("8888") are real member numbers.
REPEATED_CHARS = 11

# context.externalIds[].type → our kind; other types stay in the context and identify nobody.
EXTERNAL_TYPES = (
    dict.fromkeys(("user_id", "userid"), "user_id")
    | dict.fromkeys(("unionid", "union_id", "wechat_unionid"), "union_id")
    | dict.fromkeys(("external_userid", "external_user_id", "wecom_external_userid"), "external_userid")
    | dict.fromkeys(("phone", "mobile"), "phone")
    | {"email": "email", "anonymous_id": "anonymous_id"}
    | dict.fromkeys(("openid", "open_id", "wechat_openid"), "openid")
    | dict.fromkeys(("device_id", "ios.id", "ios.idfa", "ios.idfv", "android.id", "android.idfa"), "device_id")
)


def is_placeholder(value: str) -> bool:
    """True for a value that stands for "no id". `value` is stripped."""
    if value.lower() in PLACEHOLDERS or (value[:1] in "0-" and not value.strip("0-")):
        return True
    # The first comparison answers for nearly every value; a set of 36 characters costs as much as the rest together.
    return (
        len(value) >= REPEATED_CHARS and value[0] == value[1] == value[2] == value[3] and len(set(value) - {"-"}) == 1
    )


def identifier_text(value: object) -> str | None:
    """The id as text: text stripped, whole numbers in digits ("42", 42, 42.0); None for anything else or too long."""
    if isinstance(value, str):
        text = value.strip()
        is_whole = text.isprintable() and REPLACEMENT not in text
        return text if is_whole and len(text) <= MAX_IDENTIFIER_CHARS else None
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal):
        is_whole = value.is_finite() and value.adjusted() < 20 and value == value.to_integral_value()
        return str(int(value)) if is_whole else None
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else None
    return None


class Identifiers:
    """Collects the identifiers of one event and what was wrong with the others."""

    __slots__ = ("_found", "problems", "source")

    def __init__(self, source: Source) -> None:
        self._found: dict[str, int] = {}
        self.source = source
        self.problems: list[Problem] = []

    def add(self, kind: str, value: object, field: str, scope: object = None) -> None:
        """Take a value of a kind that needs no format check; None and "" are simply absent."""
        if value is None or value == "":
            return
        text = identifier_text(value)
        if text is None:
            self.problems.append(Problem("identifier_invalid", field, "not text or a whole number of usable length"))
        elif is_placeholder(text):
            self.problems.append(Problem("identifier_placeholder", field, "a placeholder identifies nobody"))
        elif kind in SCOPES:
            self._add_scoped(kind, text, field, scope)
        elif kind == "device_id" and _UUID.fullmatch(text):
            # iOS writes them in capitals, servers often do not.
            self.take(kind, text.lower())
        else:
            self._found[f"{kind}:{text}"] = RANK[kind]

    def take(self, kind: str, value: str) -> None:
        """Keep an identifier that is known to be good."""
        self._found[f"{kind}:{value}"] = RANK[kind]

    def _add_scoped(self, kind: str, text: str, field: str, stated: object) -> None:
        default = self.source.app_id if kind == "openid" else self.source.corp_id
        scope = identifier_text(stated) or default
        if scope and not is_placeholder(scope):
            self.take(kind, f"{scope}/{text}")
        else:
            self.problems.append(Problem("scope_missing", field, f"{kind} means nothing without {SCOPES[kind][0]}"))

    def ranked(self) -> list[str]:
        """kind:value, strongest kind first; within a kind in the order in which they were found."""
        found = self._found
        return list(found) if len(found) < 2 else sorted(found, key=found.__getitem__)
