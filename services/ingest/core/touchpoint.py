"""A message becomes a touchpoint or a list of everything that is wrong with it: the decisions of ingest, in order.

Pure: the moment of receipt and the source of ids come as arguments. Same input, same bytes.
"""

from collections.abc import Callable

from services.ingest.core.envelope import REPLACEMENT, Message, decode_message, encode_json
from services.ingest.core.identifiers import Identifiers
from services.ingest.core.model import (
    FLAG_PUBLIC,
    MAX_MESSAGE_ID_CHARS,
    MAX_NAME_CHARS,
    NAMES,
    Accepted,
    Arrival,
    Refused,
    Touchpoint,
)
from services.ingest.core.moment import moment_of
from services.ingest.core.orders import AMOUNT_NAMES, Money, order_money, order_reference
from services.ingest.core.problems import REFUSALS, Problem
from services.ingest.core.required import missing_fields
from services.ingest.core.source import CONTROL_TYPES, STANDARD_TYPES
from services.ingest.core.standardise import Json, Standardiser, add_external_ids
from services.ingest.core.verified import verified_flags

MAX_EVENT_BYTES = 32 * 1024
_EMPTY = b"{}"
_NO_MONEY = Money(0, "")


def judge(
    raw: bytes, arrival: Arrival, new_id: Callable[[], str], max_event_bytes: int = MAX_EVENT_BYTES
) -> Accepted | Refused:
    """One event as it came → touchpoint or refusal. Never raises for a client's bytes."""
    if len(raw) > max_event_bytes:
        return Refused([Problem("event_too_large", "", f"{len(raw)} bytes, at most {max_event_bytes}")])
    message = decode_message(raw)
    return decide(message, arrival, new_id) if isinstance(message, Message) else Refused([message])


def decide(message: Message, arrival: Arrival, new_id: Callable[[], str]) -> Accepted | Refused:
    """Validate and standardise one message. `new_id` gives the id of a message without one."""
    source = arrival.source
    found = Identifiers(source)
    problems = found.problems
    kind = _type_of(message, arrival, problems)
    name = NAMES.get(kind) or _name_of(message, kind, problems)
    event_id = _event_id(message, new_id, problems)
    context = message.context if message.context.__class__ is dict else _object(message.context, "context", problems)
    if isinstance(arrival.context, dict):
        context = arrival.context | context
    properties, traits = _payload(message, kind, context, problems)
    originals: Json = {}
    if traits:
        standardiser = Standardiser(traits, source, found)
        standardiser.run()
        originals = standardiser.originals
    _identify(message, kind, context, found)
    occurred_at, flags = moment_of(message, arrival, originals, problems)
    money = order_money(name, properties, source.currency, originals, problems) if name in AMOUNT_NAMES else _NO_MONEY
    identifiers = found.ranked()
    if not identifiers:
        problems.append(Problem("identifier_missing", "userId", "no usable identifier in the event"))
    rules = source.rules
    if rules.by_name:
        problems.extend(missing_fields(message, properties, traits, context, rules.required(name)))
    if problems and (rules.refuses_invalid or any(problem.code in REFUSALS for problem in problems)):
        return Refused(sorted(problems, key=lambda problem: problem.code not in REFUSALS), event_id)
    touchpoint = Touchpoint(
        event_id, source.name, kind, name, identifiers, occurred_at, arrival.received_at,
        order_reference(properties), money.minor, money.currency,
        encode_json(properties) if properties else _EMPTY,
        encode_json(traits) if traits else _EMPTY,
        encode_json(context) if context else _EMPTY,
        encode_json(originals) if originals else _EMPTY,
        flags | (FLAG_PUBLIC if source.is_public else verified_flags(traits, context)),
    )  # fmt: skip
    return Accepted(touchpoint, problems)


def _type_of(message: Message, arrival: Arrival, problems: list[Problem]) -> str:
    kind = arrival.type or message.type
    if kind.__class__ is str and kind in arrival.source.types:
        return kind
    if not isinstance(kind, str) or (kind not in STANDARD_TYPES and kind not in CONTROL_TYPES):
        problems.append(Problem("type_unknown", "type", f"expected one of {', '.join(sorted(STANDARD_TYPES))}"))
        return ""
    problems.append(Problem("type_not_allowed", "type", f"this write key may not send {kind}"))
    return kind


def _name_of(message: Message, kind: str, problems: list[Problem]) -> str:
    if kind != "track":
        return ""
    name = message.event.strip() if isinstance(message.event, str) else ""
    if not 0 < len(name) <= MAX_NAME_CHARS:
        problems.append(
            Problem("event_missing", "event", f"a track call needs a name of 1 to {MAX_NAME_CHARS} characters")
        )
    return name


def _event_id(message: Message, new_id: Callable[[], str], problems: list[Problem]) -> str:
    given = message.message_id
    if given.__class__ is str and 0 < len(given) <= MAX_MESSAGE_ID_CHARS and REPLACEMENT not in given:
        return given
    if given is None or given == "":
        return new_id()
    problems.append(
        Problem("message_id_invalid", "messageId", f"text of at most {MAX_MESSAGE_ID_CHARS} whole characters expected")
    )
    return ""


def _object(value: object, field: str, problems: list[Problem]) -> Json:
    if isinstance(value, dict):
        return value
    if value is not None:
        problems.append(Problem("not_an_object", field, f"{field} must be a JSON object"))
    return {}


def _payload(message: Message, kind: str, context: Json, problems: list[Problem]) -> tuple[Json, Json]:
    """(properties, traits of the person). Traits leave the context, what is known once is stored once.

    The traits of a group call describe a company: they become properties.traits, so that its e-mail and phone are
    never taken for the person's.
    """
    properties = _object(message.properties, "properties", problems)
    own = _object(message.traits, "traits", problems) if message.traits is not None else {}
    traits = _object(context.pop("traits"), "context.traits", problems) if "traits" in context else {}
    if kind == "group":
        if own:
            properties["traits"] = own
        if message.group_id is not None:
            properties["group_id"] = message.group_id
    elif own:
        traits = traits | own if traits else own
    if kind in ("page", "screen"):
        for field, value in (("name", message.name), ("category", message.category)):
            if value is not None:
                properties.setdefault(field, value)
    if message.integrations and message.integrations != {"All": True}:
        context["integrations"] = message.integrations
    return properties, traits


def _identify(message: Message, kind: str, context: Json, found: Identifiers) -> None:
    if message.user_id is not None:
        found.add("user_id", message.user_id, "userId")
    if message.anonymous_id is not None:
        found.add("anonymous_id", message.anonymous_id, "anonymousId")
    if kind == "alias":
        _alias(message, found)
    if context:
        device = context.get("device")
        if isinstance(device, dict):
            found.add("device_id", device.get("id"), "context.device.id")
        if "externalIds" in context:
            add_external_ids(context["externalIds"], found.source, found)


def _alias(message: Message, found: Identifiers) -> None:
    """previousId is the visitor's anonymous id: that is what SDKs fill in when alias is called at sign-up.

    It may also be an older user id, which looks the same. Only the source can tell: where its `user_id_pattern`
    matches, it is one.
    """
    pattern = found.source.user_id_pattern
    is_user = pattern is not None and isinstance(message.previous_id, str) and pattern.fullmatch(message.previous_id)
    before = len(found.ranked())
    found.add("user_id" if is_user else "anonymous_id", message.previous_id, "previousId")
    if not before or len(found.ranked()) < 2:
        found.problems.append(Problem("alias_incomplete", "previousId", "previousId and another identifier expected"))
