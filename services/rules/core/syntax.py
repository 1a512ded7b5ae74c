"""Rule files → checked rules. All mistakes of all files are found together; a set with one mistake is no set at all.

The syntax is described in ../README.md. This module decides what a rule may say; it reads no files.
"""

import hashlib
import re
from collections.abc import Mapping

import msgspec
from yaml.nodes import Node, ScalarNode

from services.rules.core.clauses import LABEL, read_actions, read_condition, read_limits, read_whens
from services.rules.core.condition import Condition
from services.rules.core.model import Limits, Rule, When
from services.rules.core.yaml_source import Mistake, Source, describe

RULE_KEYS = ("rule", "version", "description", "when", "if", "limits", "then")
NAME = r"[a-z][a-z0-9-]{0,62}"


class RulesRefused(Exception):  # noqa: N818
    """The files are no valid set of rules; `mistakes` has all of them in order of file and line."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


def parse_rules(files: Mapping[str, bytes]) -> tuple[Rule, ...]:
    """The rules in `files` (name → content), by name. Raises RulesRefused; also when there is no file at all."""
    mistakes: list[Mistake] = []
    rules: list[Rule] = []
    named: dict[str, str] = {}
    for file in sorted(files):
        source = Source(file)
        rule = _parse_rule(source, files[file], named)
        if rule is not None:
            rules.append(rule)
        mistakes += source.mistakes
    if not files:
        mistakes.append(Mistake(".", 1, 1, "no rule file", "at least one file <rule>.yaml"))
    if mistakes:
        raise RulesRefused(sorted(mistakes))
    return tuple(sorted(rules, key=lambda rule: rule.name))


def _parse_rule(source: Source, content: bytes, named: dict[str, str]) -> Rule | None:
    root = source.root(content)
    if root is None:
        return None
    nodes = source.mapping(root, "a rule", RULE_KEYS, ("rule", "when", "then"))
    name = _name(source, nodes["rule"], named) if "rule" in nodes else None
    whens = read_whens(source, nodes["when"]) if "when" in nodes else ()
    condition = read_condition(source, nodes["if"]) if "if" in nodes else None
    limits = read_limits(source, nodes["limits"]) if "limits" in nodes else Limits()
    actions = read_actions(source, nodes["then"]) if "then" in nodes else []
    description = source.text(nodes["description"], "a sentence") if "description" in nodes else ""
    encoded = msgspec.json.encode(actions, order="sorted")
    version = _version(source, nodes.get("version"))
    if source.mistakes or name is None:
        return None
    version = version or _content_version(whens, condition, limits, encoded)
    return Rule(name, version, whens, condition, limits, encoded, source.file, description or "")


def _name(source: Source, node: Node, named: dict[str, str]) -> str | None:
    name = source.text(node, "a name of a-z, 0-9 and -", NAME)
    if name is not None and named.setdefault(name, source.file) != source.file:
        source.wrong(node, f"rule `{name}`, also in {named[name]}", "a name of its own")
    return name


def _version(source: Source, node: Node | None) -> str:
    if node is None:
        return ""
    if isinstance(node, ScalarNode) and re.fullmatch(LABEL, node.value):
        return str(node.value)
    source.wrong(node, describe(node), "a version such as 2 or 2026-03")
    return ""


def _content_version(whens: tuple[When, ...], condition: Condition | None, limits: Limits, actions: bytes) -> str:
    """12 hex characters of what the rule says; comments, order of keys and description do not change it."""
    content = [
        [[when.on.value, when.name, when.origin] for when in whens],
        condition.text if condition else "",
        [limits.cooldown_ms, limits.once_per_customer, limits.per_customer_per_day],
        actions.decode(),
    ]
    return hashlib.blake2b(msgspec.json.encode(content), digest_size=6).hexdigest()
