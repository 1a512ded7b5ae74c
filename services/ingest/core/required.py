"""Field rules of a source: which fields an event of a name must have."""

from collections.abc import Iterable, Iterator

from services.ingest.core.envelope import Message
from services.ingest.core.problems import Problem

_TOP = {
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "messageId": "message_id",
    "groupId": "group_id",
    "timestamp": "timestamp",
    "name": "name",
    "category": "category",
}


def missing_fields(
    message: Message,
    properties: dict[str, object],
    traits: dict[str, object],
    context: dict[str, object],
    paths: Iterable[str],
) -> Iterator[Problem]:
    """One problem per path that is absent or empty. A value that standardising refused counts as absent."""
    roots: dict[str, object] = {"properties": properties, "traits": traits, "context": context}
    for path in paths:
        if not any(_has(message, roots, choice) for choice in path.split("|")):
            yield Problem("field_missing", path.split("|")[0], f"required by the source's rules: {path}")


def _has(message: Message, roots: dict[str, object], path: str) -> bool:
    head, _, rest = path.partition(".")
    if not rest:
        return getattr(message, _TOP.get(head, "type"), None) not in (None, "")
    value: object = roots.get(head)
    for part in rest.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value is not None and value not in ("", [], {})


def is_known_path(path: str) -> bool:
    """True for a path that a rule may name (used when the rules are read)."""
    head, _, rest = path.partition(".")
    return head in _TOP if not rest else head in ("properties", "traits", "context")
