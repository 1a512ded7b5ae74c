"""YAML read with places: every value knows its line and column, every mistake is kept, none stops the reading.

Only what a rule file needs: one document of mappings, lists and scalars. Scalars follow the YAML 1.2 core schema
(`no`, `on`, `22:30` and dates are texts); aliases and tags are refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from services.rules.core.cel_source import did_you_mean

# A rule is a page of text; a larger file is something else, and the parser's time grows with it.
MAX_BYTES = 65_536
_STR = "tag:yaml.org,2002:str"
_NAMES = {"str": "text", "int": "number", "float": "number", "bool": "true or false", "null": "nothing"}


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing wrong in a rule file; lines and columns count from 1."""

    file: str
    line: int
    column: int
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: found {self.found}, expected {self.expected}"


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2 and without aliases."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, "re.Pattern[str]"]]] = {}  # noqa: RUF012 - the base's attribute

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ComposerError(None, None, "an alias (*name)", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"~|null|", ["~", "n", ""]),
    ("int", r"[-+]?[0-9]{1,18}", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


class Source:
    """One file being read. The methods return None after noting a mistake, so that reading goes on to the next."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self.lines: list[str] = []

    def root(self, content: bytes) -> Node | None:
        """The document's top node."""
        try:
            if len(content) > MAX_BYTES:
                raise _Unreadable(1, 1, f"{len(content)} bytes", f"at most {MAX_BYTES}")
            node = _compose(content)
            if node is None:
                raise _Unreadable(1, 1, "an empty file", "a rule")
        except _Unreadable as unreadable:
            self.wrong_at(*unreadable.mistake)
            return None
        self.lines = content.decode().splitlines()
        return node

    def wrong_at(self, line: int, column: int, found: str, expected: str) -> None:
        """Note a mistake at a place."""
        self.mistakes.append(Mistake(self.file, line, column, found, expected))

    def wrong(self, node: Node, found: str, expected: str) -> None:
        """Note a mistake at a node."""
        self.wrong_at(node.start_mark.line + 1, node.start_mark.column + 1, found, expected)

    def mapping(self, node: Node, what: str, allowed: Sequence[str], required: Sequence[str] = ()) -> dict[str, Node]:
        """The entries of a mapping with known keys; unknown, doubled and missing keys are mistakes."""
        if not isinstance(node, MappingNode):
            self.wrong(node, describe(node), f"{what}: a mapping with {', '.join(required or allowed)}")
            return {}
        entries: dict[str, Node] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else describe(key_node)
            if key not in allowed:
                self.wrong(key_node, f"`{key}`", f"one of {', '.join(allowed)}{did_you_mean(key, allowed)}")
            elif key in entries:
                self.wrong(key_node, f"`{key}` a second time", "each key once")
            else:
                entries[key] = value
        for key in required:
            if key not in entries:
                self.wrong(node, f"{what} without `{key}`", f"{what} with {', '.join(required)}")
        return entries

    def items(self, node: Node, what: str) -> list[Node]:
        """The items of a list that must not be empty."""
        if isinstance(node, SequenceNode) and node.value:
            return list(node.value)
        self.wrong(node, describe(node), what)
        return []

    def text(self, node: Node, what: str, pattern: str = r"(?s).*\S.*") -> str | None:
        """A text that matches `pattern` whole."""
        fits = isinstance(node, ScalarNode) and re.fullmatch(pattern, node.value)
        if fits and node.tag == _STR:
            return str(node.value)
        hint = " (in quotes, to be a text)" if fits else ""
        self.wrong(node, describe(node), what + hint)
        return None

    def plain(self, node: Node) -> object:
        """Any value of JSON's kinds."""
        if isinstance(node, MappingNode):
            entries: dict[str, object] = {}
            for key_node, value in node.value:
                key = str(self.plain(key_node))
                if key in entries:
                    self.wrong(key_node, f"`{key}` a second time", "each key once")
                entries[key] = self.plain(value)
            return entries
        if isinstance(node, SequenceNode):
            return [self.plain(item) for item in node.value]
        kind = node.tag.rpartition(":")[2]
        if kind == "int":
            return int(node.value)
        if kind == "float":
            return float(node.value)
        if kind in ("bool", "null"):
            return {"true": True, "false": False}.get(node.value)
        if kind != "str":
            self.wrong(node, f"the tag {node.tag}", "a plain value")
        return str(node.value)


class _Unreadable(Exception):  # noqa: N818
    """The file is no YAML document."""

    def __init__(self, line: int, column: int, found: str, expected: str) -> None:
        super().__init__(found)
        self.mistake = (line, column, found, expected)


def _compose(content: bytes) -> Node | None:
    try:
        node: Node | None = yaml.compose(content.decode(), _Loader)
        return node
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _Unreadable(line, 1, "bytes that are no UTF-8", "a text file in UTF-8") from None
    except yaml.reader.ReaderError as error:
        line = content.decode().count("\n", 0, error.position) + 1
        raise _Unreadable(line, 1, "a control character", "printable text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _Unreadable(line, column, f"no YAML ({error.problem})", "one YAML mapping of plain values") from None
    except RecursionError:
        raise _Unreadable(1, 1, "hundreds of levels of nesting", "a rule") from None


def describe(node: Node) -> str:
    """What stands there, for a person."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list" if node.value else "an empty list"
    kind = _NAMES.get(node.tag.rpartition(":")[2], node.tag)
    return kind if kind == "nothing" else f"{kind} `{node.value}`" if node.value.strip() else "an empty text"
