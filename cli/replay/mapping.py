"""A mapping file → MappingSpec: everything that can be checked without the data file, every mistake with its place."""

import re
from collections.abc import Mapping

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from cli.replay.expression import compile_expression
from cli.replay.moments import read_moment
from cli.replay.spec import (
    Case,
    Constant,
    Csv,
    Expression,
    Fields,
    Identifier,
    MappingRefused,
    MappingSpec,
    Template,
    Tree,
)
from cli.replay.typed import ExpressionError, Wanted
from cli.replay.values import Compute
from services.rules.core.yaml_source import Source, describe

TYPES = ("track", "identify", "page", "screen", "group", "alias")
# What may identify somebody, as in deploy/config/identity.yaml; previous_id is the old id of an alias.
KINDS = (
    "user_id", "union_id", "external_userid", "phone", "email", "openid", "device_id", "anonymous_id", "previous_id",
)  # fmt: skip
SCOPED = ("openid", "external_userid")
TEXT_KEYS = ("type", "event", "message_id", "currency")
VALUE_KEYS = ("order_id", "amount", "name", "category", "group_id")
FIELD_KEYS = (*TEXT_KEYS, *VALUE_KEYS, "timestamp", "identifiers", "properties", "traits")
_BRACES = re.compile(r"\{([^{}]*)\}")


def parse_mapping(file: str, content: bytes) -> MappingSpec:
    """The checked mapping. Raises MappingRefused with every mistake, each with file, line and column."""
    source = Source(file)
    if not content.strip():
        source.wrong_at(1, 1, "an empty file", "a mapping")
    root = None if source.mistakes else source.root(content)
    spec = _Reader(source).read(root) if root is not None else None
    if source.mistakes or spec is None:
        raise MappingRefused(source.mistakes)
    return spec


def _any_column(path: tuple[str, ...]) -> Compute:
    return lambda row: None


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source

    def read(self, root: Node) -> MappingSpec:
        nodes = self.source.mapping(root, "a mapping", ("format", "csv", "cases", *FIELD_KEYS))
        data = self.source.text(nodes["format"], "csv or jsonl", "csv|jsonl") if "format" in nodes else ""
        common = self._fields(nodes)
        items = self.source.items(nodes["cases"], "a list of cases") if "cases" in nodes else []
        cases = [self._case(item, common) for item in items] if items else [Case(None, "", common, root)]
        for place, case in enumerate(cases, 1):
            if case.when is None and place < len(cases) and not self.source.mistakes:
                self.source.wrong(case.node, "a case without `when` before others", "it last: it takes every line")
            if not case.skip:
                self._check(case)
        return MappingSpec(self.source.file, data or "", self._csv(nodes.get("csv")), tuple(cases))

    def _case(self, node: Node, common: Fields) -> Case:
        nodes = self.source.mapping(node, "a case", ("when", "skip", *FIELD_KEYS))
        when = self._expression(nodes["when"], Wanted.CONDITION) if "when" in nodes else None
        skip = self.source.text(nodes["skip"], "the reason") if "skip" in nodes else ""
        if "skip" in nodes and set(nodes) - {"when", "skip"}:
            self.source.wrong(node, "a skipped case with fields", "`when` and `skip` only")
        return Case(when, skip or "", self._fields(nodes).over(common), node)

    def _check(self, case: Case) -> None:
        """What a message of a type must have."""
        said, wrong = case.fields, self.source.wrong
        kind = said.literal_type()
        if kind is not None and kind not in TYPES:
            wrong(said.texts["type"].node, f"type `{kind}`", f"one of {', '.join(TYPES)}")
        if kind == "track" and "event" not in said.texts:
            wrong(case.node, "a track message without `event`", "its event name, e.g. Order Completed")
        if not said.identifiers:
            wrong(case.node, "a message without `identifiers`", f"at least one of {', '.join(KINDS)}")
        if kind == "alias" and "previous_id" not in said.identifiers:
            wrong(case.node, "an alias without identifiers.previous_id", "the old id")

    def _fields(self, nodes: Mapping[str, Node]) -> Fields:
        texts = {key: self._template(nodes[key]) for key in TEXT_KEYS if key in nodes}
        values = {
            key: self._expression(nodes[key], Wanted.NUMBER if key == "amount" else Wanted.VALUE)
            for key in VALUE_KEYS
            if key in nodes
        }
        return Fields(
            {key: text for key, text in texts.items() if text is not None},
            {key: value for key, value in values.items() if value is not None},
            self._identifiers(nodes["identifiers"]) if "identifiers" in nodes else {},
            self._tree(nodes["properties"]) if "properties" in nodes else {},
            self._tree(nodes["traits"]) if "traits" in nodes else {},
            read_moment(self.source, nodes["timestamp"], self._expression) if "timestamp" in nodes else None,
        )

    def _identifiers(self, node: Node) -> dict[str, Identifier]:
        found = {}
        for kind, value in self.source.mapping(node, "identifiers", KINDS).items():
            scope, text = None, value
            if isinstance(value, MappingNode):
                inner = self.source.mapping(value, kind, ("value", "scope"), ("value",))
                if "scope" in inner and kind not in SCOPED:
                    self.source.wrong(inner["scope"], f"a scope of {kind}", f"a scope of {' or '.join(SCOPED)} only")
                scope = self._template(inner["scope"]) if "scope" in inner else None
                if "value" not in inner:
                    continue
                text = inner["value"]
            expression = self._expression(text)
            if expression is not None:
                found[kind] = Identifier(expression, scope)
        return found

    def _tree(self, node: Node) -> Tree:
        if not isinstance(node, MappingNode):
            self.source.wrong(node, describe(node), "a mapping of names to expressions")
            return {}
        found: dict[str, Expression | Constant | Tree] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in found:
                self.source.wrong(key, f"`{name}` a second time", "each name once")
            elif isinstance(value, MappingNode):
                found[name] = self._tree(value)
            elif isinstance(value, ScalarNode) and not value.tag.endswith(":str"):
                found[name] = Constant(self.source.plain(value))
            elif (expression := self._expression(value)) is not None:
                found[name] = expression
        return found

    def _expression(self, node: Node, wanted: Wanted = Wanted.VALUE) -> Expression | None:
        text = self.source.text(node, f"an expression that gives {wanted.value}")
        return None if text is None else self._checked(Expression(text, node, wanted))

    def _checked(self, expression: Expression) -> Expression | None:
        try:
            compile_expression(expression.text, _any_column, expression.wanted)
        except ExpressionError as error:
            expression.refuse(self.source, error)
            return None
        return expression

    def _template(self, node: Node) -> Template | None:
        text = self.source.text(node, "a text, with {expressions} in braces")
        if text is None:
            return None
        parts: list[str | Expression] = []
        for place, part in enumerate(_BRACES.split(text)):
            if place % 2 == 0:
                if "{" in part or "}" in part:
                    self.source.wrong(node, f"a brace too many in `{text}`", "{expression}")
                parts += [part] if part else []
            elif (inner := self._checked(Expression(part, node, offset=text.index("{" + part + "}") + 1))) is not None:
                parts.append(inner)
        return Template(tuple(parts), node)

    def _csv(self, node: Node | None) -> Csv:
        if node is None:
            return Csv()
        nodes, plain = self.source.mapping(node, "csv", ("delimiter", "quote", "encoding", "header")), Csv()
        one, text = r"(?s).", self.source.text
        encoding = text(nodes["encoding"], "an encoding, e.g. gb18030") if "encoding" in nodes else None
        if encoding is not None:
            try:
                "".encode(encoding)
            except LookupError:
                self.source.wrong(nodes["encoding"], f"encoding `{encoding}`", "one that Python knows, e.g. gb18030")
        return Csv(
            (text(nodes["delimiter"], "one character", one) if "delimiter" in nodes else None) or plain.delimiter,
            (text(nodes["quote"], "one character", one) if "quote" in nodes else None) or plain.quote,
            encoding or plain.encoding,
            self._header(nodes["header"]) if "header" in nodes else (),
        )

    def _header(self, node: Node) -> tuple[str, ...]:
        names = [self.source.text(item, "a column name") or "" for item in self.source.items(node, "column names")]
        if isinstance(node, SequenceNode) and len(set(names)) < len(names):
            self.source.wrong(node, "a column name twice", "each column once")
        return tuple(names)
