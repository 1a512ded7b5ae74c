"""The policy of identifiers: which kinds there are and how strong, what each may do, whom of the sources is believed.

Parsed from YAML by the adapter; deploy/config/identity.yaml says what the keys mean.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from services.identity.core.policy_reader import Reader

HOUR_MS = 3_600_000
# A policy is told whole, in one record: the broker takes about 1 MB.
MAX_BYTES = 700_000
# Places of identifiers are stored in two bytes.
MAX_SIZE = 60_000
# The kinds whose verification a touchpoint can state: bits of its flags (schemas/touchpoint).
VERIFIED_FLAGS = {"phone": 8, "email": 16}
ANY_VERIFIED = sum(VERIFIED_FLAGS.values())
# 'a', 'b' of "a/b": a value of a scoped kind.
_SCOPED = re.compile(r"[^/]+/.+", re.DOTALL)


class PolicyError(ValueError):
    """The policy file is wrong; the text lists every mistake."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of identifier.

    code: its byte in the graph; never reused and never changed, the graph stores it. rank: its place in the file, 0 is
    the strongest. limit: how many values one customer may have (0: any number); 1 is `unique`. is_known: a value makes
    a customer known by name, so a public write key may not merge two of them. may_merge: joins two customers; else it
    only identifies. scope: what the value means something in (`corp` or `app`, value `<scope>/<id>`), empty: anywhere.
    ttl_days: not seen for longer, it is dropped from its customer; 0: never.
    """

    name: str
    code: int
    rank: int = 0
    limit: int = 0
    is_known: bool = False
    may_merge: bool = True
    scope: str = ""
    ttl_days: int = 0
    blocked: frozenset[str] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """Everything that decides about identifiers. Sizes count identifiers per customer.

    blocked: values of every kind, in lower case. attributes: source → codes of kinds that link nothing. verified:
    source → kinds that it may call verified. said_most: so many refusals, twice at most, are remembered as announced.
    text: the document as JSON. version: names it; equal for equal rules.
    """

    kinds: Mapping[str, Kind]
    max_size: int = 1_000
    window_ms: int = 24 * HOUR_MS
    bucket_ms: int = 2 * HOUR_MS
    by_code: Mapping[int, str] = field(default_factory=dict)
    blocked: frozenset[str] = frozenset()
    attributes: Mapping[str, frozenset[int]] = field(default_factory=dict)
    verified: Mapping[str, frozenset[str]] = field(default_factory=dict)
    hold_days: int = 30
    said_most: int = 50_000
    version: str = ""
    text: str = ""

    def is_blocked(self, kind: str, value: str) -> bool:
        """True for a value that must never identify anybody (an empty one too), and for a kind nobody knows."""
        known = self.kinds.get(kind)
        if known is None or not value or value in known.blocked or value.lower() in self.blocked:
            return True
        if known.scope and not _SCOPED.fullmatch(value):
            return True
        return bool(known.patterns) and any(pattern.fullmatch(value) for pattern in known.patterns)


def parse_policy(raw: object) -> Policy:
    """The checked policy of a parsed YAML document. Raises PolicyError naming every key that is wrong."""
    problems: list[str] = []
    document = Reader(raw, "", problems)
    kinds = {
        name: _kind(name, rank, reader)
        for rank, (name, reader) in enumerate(document.inner("kinds", is_needed=True).items())
    }
    codes = [kind.code for kind in kinds.values()]
    if len(set(codes)) != len(codes):
        problems.append(f"kinds: expected a code of its own for every kind, got {codes}")
    window_h = document.number("dedup_window_hours", 24, 1, 1_000_000)
    bucket_h = document.number("dedup_bucket_hours", 2, 1, 1_000_000)
    size = document.number("max_identifiers_per_customer", 1_000, 2, MAX_SIZE)
    hold_days = document.number("takeover_hold_days", 30, 0, 3_650)
    said_most = document.number("remembered_refusals", 50_000, 0, 1_000_000)
    blocked = frozenset(value.lower() for value in document.texts("blocked"))
    attributes, verified = _sources(document, kinds)
    document.end()
    text = json.dumps(raw, sort_keys=False, default=str)
    if len(text) > MAX_BYTES:
        problems.append(f"expected at most {MAX_BYTES} bytes, got {len(text)}: it is told whole when it changes")
    if problems:
        raise PolicyError("identity policy is wrong:\n  " + "\n  ".join(problems))
    by_code = {kind.code: name for name, kind in kinds.items()}
    version = blake2b(text.encode(), digest_size=6).hexdigest()
    return Policy(
        kinds, size, window_h * HOUR_MS, bucket_h * HOUR_MS, by_code, blocked, attributes, verified, hold_days,
        said_most, version, text,
    )  # fmt: skip


def _kind(name: str, rank: int, body: Reader) -> Kind:
    code, limit = body.number("code", 0, 1, 255), body.number("limit", 0, 0, MAX_SIZE)
    if body.truth("unique", False):
        if limit > 1:
            body.wrong("limit", "1 or nothing where unique is true", limit)
        limit = 1
    if len(name.encode()) > 16:
        body.problems.append(f"{body.where}: expected a name of at most 16 bytes, got {name!r}")
    kind = Kind(
        name, code, rank, limit, body.truth("known", False), body.truth("may_merge", True),
        body.one_of("scope", "", ("", "corp", "app")), body.number("ttl_days", 0, 0, 36_500),
        frozenset(body.texts("blocked")), body.patterns("blocked_patterns"),
    )  # fmt: skip
    body.end()
    return kind


def _sources(
    document: Reader, kinds: Mapping[str, Kind]
) -> tuple[dict[str, frozenset[int]], dict[str, frozenset[str]]]:
    """(attributes, verified) of the key `sources`."""
    attributes: dict[str, frozenset[int]] = {}
    verified: dict[str, frozenset[str]] = {}
    for source, body in document.inner("sources", is_needed=False).items():
        attributes[source] = frozenset(
            kinds[kind].code for kind in body.some_of("attributes", list(kinds)) & kinds.keys()
        )
        known = body.some_of("verified", [kind for kind in VERIFIED_FLAGS if kind in kinds])
        for kind in known & kinds.keys():
            if kinds[kind].ttl_days:
                body.wrong("verified", "kinds without ttl_days (a number is taken over or forgotten, not both)", kind)
        if known:
            verified[source] = known
        body.end()
    return attributes, verified
