"""A mapping and the columns of a file become a Mapper: the function from a line to a message or a reason to skip it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from cli.replay.expression import ColumnOf, compile_expression
from cli.replay.moments import Moment, time_reader
from cli.replay.spec import Case, Constant, Expression, Fields, MappingRefused, MappingSpec, Template, Tree
from cli.replay.typed import ExpressionError
from cli.replay.values import Compute, LineError, Row, as_text, is_empty
from services.ingest.core.envelope import encode_json
from services.ingest.core.model import MAX_MESSAGE_ID_CHARS
from services.rules.core.yaml_source import Source

Message: TypeAlias = dict[str, Any]
# Fills in one part of a message; the number of the line goes into message ids.
Fill: TypeAlias = Callable[[Message, Row, int], None]
TextOf: TypeAlias = Callable[[Row, int], str]

# Where ingest looks for an identifier. Under context.traits it is the person's, also in a group call.
_PLACES: dict[str, tuple[str, ...]] = {
    "user_id": ("userId",),
    "anonymous_id": ("anonymousId",),
    "previous_id": ("previousId",),
    "device_id": ("context", "device", "id"),
    "phone": ("context", "traits", "phone"),
    "email": ("context", "traits", "email"),
    "union_id": ("context", "traits", "unionid"),
    "openid": ("context", "traits", "openid"),
    "external_userid": ("context", "traits", "external_userid"),
}
_VALUES: dict[str, tuple[str, ...]] = {
    "order_id": ("properties", "order_id"),
    "amount": ("properties", "total"),
    "name": ("name",),
    "category": ("category",),
    "group_id": ("groupId",),
}
_SCOPES = {"openid": ("context", "traits", "app_id"), "external_userid": ("context", "traits", "corp_id")}


@dataclass(frozen=True, slots=True)
class Skip:
    """A line that the mapping leaves out on purpose."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Bound:
    when: Compute | None
    skip: Skip | None
    fills: tuple[Fill, ...]


class Mapper:
    """Lines → messages. The first case whose `when` is true decides."""

    def __init__(self, cases: tuple[_Bound, ...]) -> None:
        self._cases = cases

    def message(self, row: Row, line: int) -> bytes | Skip:
        """The message as JSON. Raises LineError when the line does not fit the mapping."""
        for case in self._cases:
            if case.when is None or case.when(row):
                break
        else:
            raise LineError("no case of the mapping takes it")
        if case.skip is not None:
            return case.skip
        message: Message = {}
        for fill in case.fills:
            fill(message, row, line)
        try:
            return encode_json(message)
        except (UnicodeEncodeError, msgspec.EncodeError, TypeError) as error:
            raise LineError(f"the message cannot be written as JSON ({type(error).__name__})") from error


def bind_mapping(spec: MappingSpec, column_of: ColumnOf, file_id: str) -> Mapper:
    """The mapping for a file with these columns. `file_id` begins the message ids where the mapping has none.

    Raises MappingRefused when it names columns that the file does not have.
    """
    binder = _Binder(Source(spec.file), column_of, file_id)
    cases = tuple(binder.case(case) for case in spec.cases)
    if binder.source.mistakes:
        raise MappingRefused(binder.source.mistakes)
    return Mapper(cases)


class _Binder:
    def __init__(self, source: Source, column_of: ColumnOf, file_id: str) -> None:
        self.source = source
        self._column_of = column_of
        self._file_id = file_id

    def case(self, case: Case) -> _Bound:
        when = self._compute(case.when) if case.when else None
        if case.skip:
            return _Bound(when, Skip(case.skip), ())
        return _Bound(when, None, tuple(self._fills(case.fields)))

    def _fills(self, said: Fields) -> list[Fill]:
        fills = [self._message_id(said.texts.get("message_id"))]
        fills.append(self._required("type", said.texts["type"]) if "type" in said.texts else _fixed("type", "track"))
        # Only track messages have a name of their own.
        if "event" in said.texts and said.literal_type() in (None, "track"):
            fills.append(self._required("event", said.texts["event"]))
        if said.timestamp is not None:
            fills.append(self._timestamp(said.timestamp))
        for kind, identifier in said.identifiers.items():
            fills.append(_at(_PLACES[kind], self._compute(identifier.value)))
            if identifier.scope is not None:
                fills.append(self._template_at(_SCOPES[kind], identifier.scope))
        fills += [_at(_VALUES[key], self._compute(value)) for key, value in said.values.items()]
        if "currency" in said.texts:
            fills.append(self._template_at(("properties", "currency"), said.texts["currency"]))
        return fills + self._tree(("properties",), said.properties) + self._tree(("traits",), said.traits)

    def _tree(self, path: tuple[str, ...], tree: Tree) -> list[Fill]:
        fills = []
        for name, value in tree.items():
            if isinstance(value, Constant):
                fills.append(_at((*path, name), _always(value.value)))
            elif isinstance(value, Expression):
                fills.append(_at((*path, name), self._compute(value)))
            else:
                fills += self._tree((*path, name), value)
        return fills

    def _compute(self, expression: Expression) -> Compute:
        try:
            return compile_expression(expression.text, self._column_of, expression.wanted)
        except ExpressionError as error:
            expression.refuse(self.source, error)
            return _always(None)

    def _text(self, template: Template) -> TextOf:
        parts: list[TextOf] = []
        for part in template.parts:
            if isinstance(part, str):
                parts.append(_literal(part))
            elif part.text.strip() == "line":
                parts.append(lambda row, line: str(line))
            elif part.text.strip() == "file":
                parts.append(_literal(self._file_id))
            else:
                parts.append(_filled(self._compute(part), part.text))
        if len(parts) == 1:
            return parts[0]
        return lambda row, line: "".join([part(row, line) for part in parts])

    def _required(self, key: str, template: Template) -> Fill:
        if template.literal is not None:
            return _fixed(key, template.literal)
        text = self._text(template)

        def fill(message: Message, row: Row, line: int) -> None:
            message[key] = text(row, line)
            if not message[key]:
                raise LineError(f"{key} is empty")

        return fill

    def _template_at(self, path: tuple[str, ...], template: Template) -> Fill:
        text = self._text(template)
        return lambda message, row, line: _put(message, path, text(row, line))

    def _message_id(self, template: Template | None) -> Fill:
        prefix = f"{self._file_id}-"
        text = self._text(template) if template is not None else lambda row, line: f"{prefix}{line}"

        def fill(message: Message, row: Row, line: int) -> None:
            message["messageId"] = found = text(row, line)
            if not 0 < len(found) <= MAX_MESSAGE_ID_CHARS:
                raise LineError(f"message_id has not 1 to {MAX_MESSAGE_ID_CHARS} characters", found)

        return fill

    def _timestamp(self, moment: Moment[Expression]) -> Fill:
        value, read = self._compute(moment.value), time_reader(moment.format, moment.zone)

        def fill(message: Message, row: Row, line: int) -> None:
            message["timestamp"] = read(value(row))

        return fill


def _always(value: object) -> Compute:
    return lambda row: value


def _literal(text: str) -> TextOf:
    return lambda row, line: text


def _filled(value: Compute, name: str) -> TextOf:
    return lambda row, line: as_text(value(row), name)


def _fixed(key: str, text: str) -> Fill:
    def fill(message: Message, row: Row, line: int) -> None:
        message[key] = text

    return fill


def _at(path: tuple[str, ...], value: Compute) -> Fill:
    """Nothing is written where a column is empty: what is not known is not sent."""
    return lambda message, row, line: _put(message, path, value(row))


def _put(message: Message, path: tuple[str, ...], value: object) -> None:
    if is_empty(value):
        return
    for name in path[:-1]:
        message = message.setdefault(name, {})
    message[path[-1]] = value
