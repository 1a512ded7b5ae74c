"""On which line of a YAML file a key such as tags.vip.if or stages[2] stands, and which keys stand there twice."""

import re
from collections.abc import Iterator

import yaml

from services.chassis.yaml_file import repeated_keys

_PLACE = re.compile(r"\[(\d+)\]")


class Lines:
    """Of one file that YAML can read."""

    def __init__(self, text: str) -> None:
        self._root = yaml.compose(text, Loader=yaml.SafeLoader)

    def of(self, problem: str) -> int:
        """The line, from 1, of what a text of the form `key: what is wrong` is about; as near as it can be told."""
        key, colon, _ = problem.partition(": ")
        node, line = self._root, 1
        while colon and key:
            found = _step(node, key)
            if found is None:
                break
            line, node, key = found
        return line

    def repeated(self) -> Iterator[str]:
        """A text for every key that stands twice in its mapping: YAML would take the last one in silence."""
        yield from repeated_keys(self._root)


def _step(node: yaml.Node | None, key: str) -> tuple[int, yaml.Node, str] | None:
    """(line, node, rest of the key) of the entry that the key begins with."""
    if isinstance(node, yaml.MappingNode):
        # The longest: a name of somebody else's may have a dot.
        entries = [(name.value, name, value) for name, value in node.value if _begins(key, str(name.value))]
        if entries:
            text, name, value = max(entries, key=lambda entry: len(entry[0]))
            return name.start_mark.line + 1, value, key[len(text) :].removeprefix(".")
    if isinstance(node, yaml.SequenceNode):
        place = _PLACE.match(key)
        for number, item in enumerate(node.value):
            name = f"[{number}]" if place else _stage_of(item)
            if name and _begins(key, name):
                return item.start_mark.line + 1, item, key[len(name) :].removeprefix(".")
    return None


def _begins(key: str, name: str) -> bool:
    return key == name or key.startswith((name + ".", name + "["))


def _stage_of(item: yaml.Node) -> str:
    entries = item.value if isinstance(item, yaml.MappingNode) else ()
    return next((str(value.value) for name, value in entries if name.value == "stage"), "")
