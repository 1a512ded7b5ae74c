"""The policy of identifier kinds: codes, strengths, limits, blocked values. Parsed from YAML by the adapter."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_CODE = 255


class PolicyError(ValueError):
    """The policy file is wrong; the text lists every mistake."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of identifier.

    code: its byte in the graph; never reused and never changed, the graph stores it. limit: how many values one
    customer may have (0: any number); 1 is `unique`. is_known: a value makes a customer known by name, so a public
    write key may not merge two of them.
    """

    name: str
    code: int
    limit: int = 0
    is_known: bool = False
    blocked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything the graph script must know. Sizes count identifiers per customer, windows are milliseconds."""

    kinds: Mapping[str, Kind]
    max_size: int = 1_000
    window_ms: int = 24 * 3_600_000
    bucket_ms: int = 2 * 3_600_000
    by_code: Mapping[int, str] = field(default_factory=dict)

    def is_blocked(self, kind: str, value: str) -> bool:
        """True for a value that must never identify anybody (an empty one too), and for a kind nobody knows."""
        known = self.kinds.get(kind)
        return known is None or not value or value in known.blocked


def parse_policy(raw: object) -> Policy:
    """The checked policy of a parsed YAML document. Raises PolicyError naming every key that is wrong."""
    problems: list[str] = []
    document = raw if isinstance(raw, dict) else {}
    if not isinstance(raw, dict):
        problems.append("expected a mapping with the key `kinds`")
    kinds: dict[str, Kind] = {}
    for name, body in _mapping(document.get("kinds"), "kinds", problems).items():
        kinds[name] = _kind(name, _mapping(body, f"kinds.{name}", problems), problems)
    codes = [kind.code for kind in kinds.values()]
    if len(set(codes)) != len(codes):
        problems.append("kinds: two kinds have the same code")
    window_h = _number(document, "dedup_window_hours", 24, 1, problems)
    bucket_h = _number(document, "dedup_bucket_hours", 2, 1, problems)
    size = _number(document, "max_identifiers_per_customer", 1_000, 2, problems)
    if size > 60_000:
        problems.append("max_identifiers_per_customer: at most 60000 (places are stored in two bytes)")
    known = {"kinds", "dedup_window_hours", "dedup_bucket_hours", "max_identifiers_per_customer"}
    problems += [f"{key}: unknown key, expected one of {sorted(known)}" for key in document if key not in known]
    if problems:
        raise PolicyError("identity policy is wrong:\n  " + "\n  ".join(problems))
    by_code = {kind.code: name for name, kind in kinds.items()}
    return Policy(kinds, size, window_h * 3_600_000, bucket_h * 3_600_000, by_code)


def _kind(name: str, body: Mapping[str, object], problems: list[str]) -> Kind:
    code = _number(body, "code", 0, 1, problems, f"kinds.{name}.")
    limit = _number(body, "limit", 0, 0, problems, f"kinds.{name}.")
    if code > MAX_CODE:
        problems.append(f"kinds.{name}.code: at most {MAX_CODE}")
    if len(name.encode()) > 16:
        problems.append(f"kinds.{name}: a name has at most 16 bytes (it personalises the digest)")
    blocked = body.get("blocked", [])
    if not isinstance(blocked, list):
        problems.append(f"kinds.{name}.blocked: expected a list of values")
        blocked = []
    if not isinstance(body.get("known", False), bool):
        problems.append(f"kinds.{name}.known: expected true or false, got {body['known']!r}")
    known = {"code", "limit", "known", "blocked"}
    problems += [
        f"kinds.{name}.{key}: unknown key, expected one of {sorted(known)}" for key in body if key not in known
    ]
    return Kind(name, code, limit, body.get("known") is True, frozenset(str(value) for value in blocked))


def _mapping(value: object, where: str, problems: list[str]) -> Mapping[str, object]:
    if isinstance(value, dict) and value:
        return {str(key): item for key, item in value.items()}
    problems.append(f"{where}: expected a mapping, got {value!r}")
    return {}


def _number(
    body: Mapping[str, object], key: str, default: int, least: int, problems: list[str], where: str = ""
) -> int:
    value = body.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        problems.append(f"{where}{key}: expected a whole number ≥ {least}, got {value!r}")
        return max(default, least)
    return value
