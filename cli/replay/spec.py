"""What a mapping says, checked but not yet joined with a file's columns. README.md has the syntax."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, Union

from yaml.nodes import Node, ScalarNode

from cli.replay.moments import Moment
from cli.replay.typed import ExpressionError, Wanted
from services.rules.core.yaml_source import Mistake, Source


class MappingRefused(Exception):  # noqa: N818
    """The file is no mapping for these columns; `mistakes` has all of them in order."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self.mistakes = sorted(set(mistakes))
        super().__init__("\n".join(map(str, self.mistakes)))


@dataclass(frozen=True, slots=True)
class Expression:
    """The text of an expression and where it stands."""

    text: str
    node: Node
    wanted: Wanted = Wanted.VALUE
    offset: int = 0  # of the expression within its text, where braces stand around it

    def refuse(self, source: Source, error: ExpressionError) -> None:
        """Note what is wrong with it, at the exact place where the YAML is plain enough to know it."""
        mark, node = self.node.start_mark, self.node
        column = mark.column + 1
        if isinstance(node, ScalarNode) and node.style not in ("|", ">") and node.end_mark.line == mark.line:
            column += self.offset + error.offset + (1 if node.style else 0)
        source.wrong_at(mark.line + 1, column, error.found, error.expected)


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, true or false, as the YAML has it."""

    value: object


@dataclass(frozen=True, slots=True)
class Template:
    """Text with expressions in braces."""

    parts: tuple[str | Expression, ...]
    node: Node

    @property
    def literal(self) -> str | None:
        """The text, when there are no braces in it."""
        return "".join(map(str, self.parts)) if all(isinstance(part, str) for part in self.parts) else None


@dataclass(frozen=True, slots=True)
class Identifier:
    """Where an identifier is read from, and the app or company it belongs to."""

    value: Expression
    scope: Template | None = None


Tree: TypeAlias = Mapping[str, Union[Expression, Constant, "Tree"]]


@dataclass(frozen=True, slots=True)
class Fields:
    """What a message is made of.

    texts: type, event, message_id, currency. values: order_id, amount, name, category, group_id.
    """

    texts: Mapping[str, Template] = field(default_factory=dict)
    values: Mapping[str, Expression] = field(default_factory=dict)
    identifiers: Mapping[str, Identifier] = field(default_factory=dict)
    properties: Tree = field(default_factory=dict)
    traits: Tree = field(default_factory=dict)
    timestamp: Moment[Expression] | None = None

    def over(self, common: "Fields") -> "Fields":
        """These, and what the common ones say beyond them."""
        return Fields(
            {**common.texts, **self.texts},
            {**common.values, **self.values},
            {**common.identifiers, **self.identifiers},
            {**common.properties, **self.properties},
            {**common.traits, **self.traits},
            self.timestamp or common.timestamp,
        )

    def literal_type(self) -> str | None:
        """The type that every message has; None when it depends on the line."""
        return self.texts["type"].literal if "type" in self.texts else "track"


@dataclass(frozen=True, slots=True)
class Case:
    """What becomes of the lines for which `when` is true (None: of all that are left). `skip` is a reason."""

    when: Expression | None
    skip: str
    fields: Fields
    node: Node


@dataclass(frozen=True, slots=True)
class Csv:
    """How a CSV file is written. header: column names where the file has none."""

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8-sig"
    header: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MappingSpec:
    """A whole file. format: csv, jsonl, or empty (by the data file's name)."""

    file: str
    format: str
    csv: Csv
    cases: tuple[Case, ...]
