"""Why the graph changed, in words: who asked for it and why, or which guard said no."""

import re
from typing import Any

import msgspec

# The verb of a request by a person.
_VERBS = {"link": "linked", "refuse": "refused", "unlink": "unlinked", "erase": "erased"}
# A reason travels with every change and into every table: a person's words are cut, not refused.
MAX_AUTHOR_CHARS, MAX_REASON_CHARS = 100, 500
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_ASKED = re.compile(rf"(?:^|: )(?:(?:{'|'.join(_VERBS.values())}) by|(?:{'|'.join(_VERBS)}) of) .*", re.DOTALL)


def reason_text(guard: str, touchpoint: dict[str, Any]) -> str:
    """The reason of a change. `guard`: what the script says, empty unless a guard refused something.

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
