"""YAML as people write it: a key that stands twice in one mapping is refused, where YAML takes the last in silence.

A block pasted at the end of a file would otherwise undo the section of that name further up, and nobody hears of it.
"""

from collections.abc import Iterator
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"  # `<<` may stand more than once


class RepeatedKeyError(yaml.YAMLError):
    """Keys stand twice; the text names each with both lines."""


def load_yaml(text: str) -> Any:
    """What a document says, as yaml.safe_load. Raises yaml.YAMLError, which RepeatedKeyError is one of."""
    if repeated := list(repeated_keys(yaml.compose(text, Loader=yaml.SafeLoader))):
        raise RepeatedKeyError("; ".join(repeated))
    return yaml.safe_load(text)


def repeated_keys(root: yaml.Node | None) -> Iterator[str]:
    """A text of the form `key: what is wrong` for every key that stands twice in its mapping; in order of the file."""
    # An alias is its anchor's node once more: looked at once, or one within itself would never end.
    seen: set[int] = set()

    def walk(node: yaml.Node | None, key: str) -> Iterator[str]:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for name, value in node.value:
                # A key that is no scalar cannot be looked up by anybody: reading the file refuses it.
                own, line = f"{key}.{name.value}".removeprefix("."), name.start_mark.line + 1
                said = name.tag, own
                if said in lines and name.tag != _MERGE:
                    yield f"{own}: expected once, stands on line {lines[said]} and on line {line}"
                lines[said] = line
                yield from walk(value, own)
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield from walk(item, f"{key}[{number}]")

    return walk(root, "")
