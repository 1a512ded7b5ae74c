"""Why the graph changed, in words: who asked for it and why, or which guard said no."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

# The verb of a request by a person.
_VERBS = {"link": "linked", "refuse": "refused", "unlink": "unlinked", "erase": "erased", "release": "released"}
# What resolve.lua says, before the kind it is about → the same for people.
_GUARDS = {
    "unique": "two values are never one customer",
    "limit": "more values than a customer may have",
    "may_merge": "it identifies, it joins no two customers",
    "public_key": "a browser's key joins no two known customers",
    "cluster_size": "larger than a customer may be",
    "ttl_days": "not seen for longer",
    "verified": "a newer owner is verified",
}
# A reason travels with every change and into every table: a person's words are cut, not refused.
MAX_AUTHOR_CHARS, MAX_REASON_CHARS = 100, 500
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_ASKED = re.compile(rf"(?:^|: )(?:(?:{'|'.join(_VERBS.values())}) by|(?:{'|'.join(_VERBS)}) of) .*", re.DOTALL)


def guard_text(said: str, kinds: Mapping[int, str]) -> str:
    """What a guard said, e.g. `unique:1` → `unique user_id, two values are never one customer`; empty stays empty."""
    name, _, code = said.partition(":")
    if name not in _GUARDS:
        return said
    return f"{name}{f' {kinds[int(code)]}' if code else ''}, {_GUARDS[name]}"


def reason_text(guard: str, touchpoint: dict[str, Any]) -> str:
    """The reason of a change. `guard`: what `guard_text` says, empty unless a guard did something.

    `touchpoint` may hold who asked for it as it was told before, under "asked": a rebuild tells it again.
    """
    kind = touchpoint["type"]
    if kind not in _VERBS:
        return guard or f"{kind} of {touchpoint['source']}"
    text = touchpoint.get("asked") or _asked(touchpoint)
    return f"{guard}: {text}" if guard else text


def asked_of(reason: str) -> str:
    """Who asked and why, of a reason that was told: what `reason_text` takes back under "asked"."""
    found = _ASKED.search(reason)
    return found[0].removeprefix(": ") if found else reason


def _asked(touchpoint: dict[str, Any]) -> str:
    """`linked by author: reason`, as far as they are given."""
    try:
        given = _decode(touchpoint["properties"])
    except msgspec.DecodeError:
        given = {}
    kind, source = touchpoint["type"], touchpoint["source"]
    author, reason = given.get("author"), given.get("reason")
    who = author.strip()[:MAX_AUTHOR_CHARS] if isinstance(author, str) else ""
    why = reason.strip()[:MAX_REASON_CHARS] if isinstance(reason, str) else ""
    if not who and not why:
        return f"{kind} of {source}"
    who = f"{_VERBS[kind]} by {who or source}"
    return f"{who}: {why}" if why else who
