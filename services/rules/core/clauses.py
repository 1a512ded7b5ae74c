"""The clauses of a rule: when, if, limits, then. Each reader notes mistakes in the Source and returns what it can."""

from yaml.nodes import MappingNode, Node, ScalarNode

from services.rules.core.cel_check import ConditionRefused
from services.rules.core.cel_source import did_you_mean
from services.rules.core.condition import Condition
from services.rules.core.limits import MAX_PER_DAY
from services.rules.core.model import Limits, On, When
from services.rules.core.yaml_source import Source, describe

CHANNELS = ("webhook", "email", "wecom", "apprise")
STAGES = ("prospect", "first_purchase", "repeat", "loyal", "dormant", "churned")
LABEL = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# profile keeps a customer's segments among the tags.
SEGMENT = "segment:"
SEGMENT_CHANGES = {"segment_entered": On.TAG_ADDED, "segment_left": On.TAG_REMOVED}
# A longer cooldown would work; who wants one wants once_per_customer.
MAX_COOLDOWN_MS = 400 * UNIT_MS["d"]


def read_whens(source: Source, node: Node) -> tuple[When, ...]:
    """The qualifying changes of `when`."""
    nodes = [node] if isinstance(node, MappingNode) else source.items(node, "one qualifying change, or a list of them")
    whens = tuple(when for item in nodes if (when := _when(source, item)) is not None)
    if len(set(whens)) < len(whens):
        source.wrong(node, "the same change twice", "each change once")
    return whens


def _when(source: Source, node: Node) -> When | None:
    kinds = [*(on.value for on in On), *SEGMENT_CHANGES]
    entries = source.mapping(node, "when", kinds)
    if len(entries) != 1:
        if entries:
            source.wrong(node, f"{len(entries)} changes in one mapping", "one; write a list when any of them counts")
        elif isinstance(node, MappingNode) and not node.value:
            source.wrong(node, "an empty mapping", f"one of {', '.join(kinds)}")
        return None
    kind, value = entries.popitem()
    if kind in SEGMENT_CHANGES:
        segment = source.text(value, "a segment", r"[a-z][a-z0-9_]{0,49}")
        return None if segment is None else When(SEGMENT_CHANGES[kind], SEGMENT + segment)
    on = On(kind)
    if on is On.STAGE:
        return _stage(source, value)
    name = source.text(value, "an event name" if on in (On.EVENT, On.FIRST_EVENT) else "a tag", r"(?s)\S(.{0,198}\S)?")
    return None if name is None else When(on, name)


def _stage(source: Source, node: Node) -> When | None:
    entries = source.mapping(node, "stage", ("from", "to"), ("to",))
    names = {key: source.text(value, f"one of {', '.join(STAGES)}") for key, value in entries.items()}
    for key, name in names.items():
        if name is not None and name not in STAGES:
            source.wrong(entries[key], f"`{name}`", f"one of {', '.join(STAGES)}{did_you_mean(name, STAGES)}")
    if names.get("to") == names.get("from") and names:
        source.wrong(node, "the same stage before and after", "two different stages")
    return When(On.STAGE, names.get("to") or "", names.get("from") or "")


def read_condition(source: Source, node: Node) -> Condition | None:
    """The compiled `if`."""
    text = source.text(node, "a CEL expression")
    if text is None:
        return None
    try:
        return Condition(text)
    except ConditionRefused as refused:
        for line, column, found, expected in refused.mistakes:
            source.wrong_at(*_place(source, node, line, column), f"in `if`: {found}", expected)
    return None


def _place(source: Source, node: Node, line: int, column: int) -> tuple[int, int]:
    """Place in the expression → place in the file: exact on one line and in a `|` block, else where it starts."""
    first, start = node.start_mark.line + 1, node.start_mark.column + 1
    style = node.style if isinstance(node, ScalarNode) else None
    if style == "|":
        indents = (len(each) - len(each.lstrip()) for each in source.lines[first:] if each.strip())
        return first + line, column + next(indents, 0)
    if style == ">" or node.end_mark.line != node.start_mark.line:
        return first, start
    return first, start + column - 1 + (1 if style in ("'", '"') else 0)


def read_limits(source: Source, node: Node) -> Limits:
    """The `limits`."""
    entries = source.mapping(node, "limits", ("cooldown", "once_per_customer", "per_customer_per_day"))
    cooldown_ms, once, per_day = 0, False, 0
    if "cooldown" in entries:
        cooldown_ms = _duration_ms(source, entries["cooldown"])
    if "once_per_customer" in entries:
        value = source.plain(entries["once_per_customer"])
        once = value is True
        if not isinstance(value, bool):
            source.wrong(entries["once_per_customer"], describe(entries["once_per_customer"]), "true or false")
    if "per_customer_per_day" in entries:
        number = source.plain(entries["per_customer_per_day"])
        if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MAX_PER_DAY:
            per_day = number
        else:
            wanted = f"a number from 1 to {MAX_PER_DAY}"
            source.wrong(entries["per_customer_per_day"], describe(entries["per_customer_per_day"]), wanted)
    return Limits(cooldown_ms, once, per_day)


def _duration_ms(source: Source, node: Node) -> int:
    wanted = "a duration such as 30d, 12h, 45m or 90s, at most 400d"
    text = source.text(node, wanted, r"[1-9][0-9]{0,8}[smhd]")
    if text is None:
        return 0
    duration_ms = int(text[:-1]) * UNIT_MS[text[-1]]
    if duration_ms > MAX_COOLDOWN_MS:
        source.wrong(node, describe(node), wanted)
    return duration_ms


def read_actions(source: Source, node: Node) -> list[dict[str, object]]:
    """The actions of `then`, as they travel in the trigger."""
    actions = []
    for item in source.items(node, "a list of actions, each `- <channel>: {template: …}`"):
        entries = source.mapping(item, "an action", CHANNELS)
        if len(entries) > 1:
            source.wrong(item, "several channels in one action", "one action for each channel")
        for channel, value in entries.items():
            actions.append(_action(source, channel, value))
    return actions


def _action(source: Source, channel: str, node: Node) -> dict[str, object]:
    keys = ("destination", "template", "params")
    entries = source.mapping(node, f"the {channel} action", keys, ("template",))
    # Without a destination notify takes the channel's default.
    action: dict[str, object] = {"channel": channel, "destination": "", "params": {}}
    for key in ("destination", "template"):
        if key in entries:
            action[key] = source.text(entries[key], f"the name of a {key}", LABEL)
    if "params" in entries:
        if isinstance(entries["params"], MappingNode):
            action["params"] = source.plain(entries["params"])
        else:
            source.wrong(entries["params"], describe(entries["params"]), "a mapping of what the template may use")
    return action
