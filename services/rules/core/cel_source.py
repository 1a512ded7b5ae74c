"""What a CEL expression mentions: its variables, fields, functions and macros, with places. No evaluation here.

The CEL library compiles and runs, but shows no syntax tree and resolves names only on the path it takes. A misspelt
field behind `||` would be found by a customer months later; a scan of the tokens finds it when the rule is checked.
The scan also tells which parts of the profile an expression can read, so that only those are converted (2 µs a value).
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# Field → the keys read below it; None: everything below it.
Fields = dict[str, "set[str] | None"]

PROFILE_FIELDS = ("customer_id", "traits", "tags", "stage", "rfm", "counts", "first_seen", "last_seen", "stage_since")
RFM_FIELDS = (
    "recency_days", "frequency", "monetary_minor", "currency", "r", "f", "m", "composite", "thresholds_version",
)  # fmt: skip
EVENT_FIELDS = ("id", "type", "name", "source", "first", "occurred_at", "accepted_at", "properties")
VARIABLES: Mapping[str, Sequence[str]] = {"profile": PROFILE_FIELDS, "event": EVENT_FIELDS, "now": ()}
MACROS = ("all", "exists", "exists_one", "filter", "map")
FUNCTIONS = ("bytes", "double", "duration", "has", "int", "size", "string", "timestamp", "uint")
_TIME_PARTS = (
    "Date", "DayOfMonth", "DayOfWeek", "DayOfYear", "FullYear", "Hours", "Milliseconds", "Minutes", "Month", "Seconds",
)  # fmt: skip
METHODS = ("contains", "endsWith", "matches", "size", "startsWith", *(f"get{part}" for part in _TIME_PARTS))
_WORDS = ("true", "false", "null", "in")
# What may stand before a text that is the whole left operand of `in`; every operator here binds more loosely.
_OPERAND_STARTS = ("", "(", "&", "|", "?", ":", ",", "[")

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*)
      | (?P<text>[rRbB]{0,2}(?: \"\"\"(?:\\.|[^\\])*?\"\"\" | '''(?:\\.|[^\\])*?'''
                              | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' ))
      | (?P<number>\d[\w.]*)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: text, number, name or mark (one punctuation character); `at`: offset in the expression."""

    kind: str
    value: str
    at: int


_END = Token("end", "", -1)


@dataclass(slots=True)
class Mentions:
    """The result of a scan. `reads`: variable → fields, None: all of it. `literals`: the plain texts in it.
    `constant_calls`: (offset, function, its literal argument). `problems`: (offset, found, expected)."""

    reads: dict[str, "Fields | None"] = field(default_factory=dict)
    literals: list[str] = field(default_factory=list)
    constant_calls: list[tuple[int, str, str]] = field(default_factory=list)
    problems: list[tuple[int, str, str]] = field(default_factory=list)


def scan(expression: str) -> Mentions:
    """Everything `expression` mentions. Works on any text; nonsense is left to the compiler."""
    tokens = [
        Token(match.lastgroup or "", match.group(), match.start())
        for match in _TOKEN.finditer(expression)
        if match.lastgroup != "skip"
    ]
    return _Scan(tokens).run()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def plain_text(token: str) -> str | None:
    """The value of a text literal without prefix, escapes or triple quotes; None for the others."""
    if token[0] in "\"'" and "\\" not in token and token[:3] not in ('"""', "'''"):
        return token[1:-1]
    return None


class _Scan:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.found = Mentions()
        self.bound = {
            self._at(i + 2).value
            for i, token in enumerate(tokens)
            if token.value in MACROS and self._at(i + 1).value == "(" and self._at(i + 3).value == ","
        }

    def run(self) -> Mentions:
        self._find_nested_macros()
        for i, token in enumerate(self.tokens):
            if token.kind == "text" and (literal := plain_text(token.value)) is not None:
                self.found.literals.append(literal)
            elif token.kind == "name" and token.value not in _WORDS:
                self._name(i, token)
        return self.found

    def _at(self, i: int) -> Token:
        return self.tokens[i] if 0 <= i < len(self.tokens) else _END

    def _name(self, i: int, token: Token) -> None:
        is_call = self._at(i + 1).value == "("
        if self._at(i - 1).value == ".":
            if is_call:
                self._call(i, token, METHODS + MACROS)
        elif is_call:
            self._call(i, token, FUNCTIONS)
        elif token.value in VARIABLES:
            self._variable(i, token.value)
        elif token.value not in self.bound:
            self._expect(token, token.value, "one of profile, event, now", VARIABLES)

    def _call(self, i: int, token: Token, known: Sequence[str]) -> None:
        if token.value not in known:
            self._expect(token, token.value, f"one of the functions {', '.join(known)}", known)
        argument, end = self._at(i + 2), self._at(i + 3)
        if token.value in ("duration", "timestamp", "matches") and argument.kind == "text" and end.value == ")":
            self.found.constant_calls.append((token.at, token.value, argument.value))

    def _variable(self, i: int, variable: str) -> None:
        path, after = self._path(i + 1)
        if path:
            self._check_fields(variable, path, self._at(i))
        if len(path) == 1 and self._at(after).value not in (".", "["):
            path += self._literal_in(i)
        if not path:
            self.found.reads[variable] = None
        elif (fields := self.found.reads.setdefault(variable, {})) is not None:
            keys = fields.get(path[0], set())
            fields[path[0]] = None if keys is None or len(path) == 1 else keys | {path[1]}

    def _path(self, i: int) -> tuple[list[str], int]:
        """The field names that follow a variable, and the index behind them; a computed index ends the path."""
        path: list[str] = []
        while True:
            name = self._at(i + 1)
            if self._at(i).value == "." and name.kind == "name" and self._at(i + 2).value != "(":
                path.append(name.value)
                i += 2
                continue
            key = plain_text(name.value) if name.kind == "text" else None
            if self._at(i).value != "[" or key is None or self._at(i + 2).value != "]":
                return path, i
            path.append(key)
            i += 3

    def _literal_in(self, i: int) -> list[str]:
        """`"vip" in profile.tags` asks for one key only."""
        text = self._at(i - 2)
        if self._at(i - 1).value != "in" or text.kind != "text" or self._at(i - 3).value not in _OPERAND_STARTS:
            return []
        key = plain_text(text.value)
        return [] if key is None else [key]

    def _check_fields(self, variable: str, path: list[str], token: Token) -> None:
        known = VARIABLES[variable]
        if path[0] not in known:
            self._expect(token, f"{variable}.{path[0]}", f"a field of {variable} ({', '.join(known) or 'none'})", known)
        elif variable == "profile" and path[0] == "rfm" and path[1:] and path[1] not in RFM_FIELDS:
            fields = f"a field of profile.rfm ({', '.join(RFM_FIELDS)})"
            self._expect(token, f"profile.rfm.{path[1]}", fields, RFM_FIELDS)

    def _find_nested_macros(self) -> None:
        """A macro inside a macro multiplies: a list of 10,000 in an event is then 100 million steps."""
        inside: list[bool] = []
        for i, token in enumerate(self.tokens):
            if token.value == "(":
                macro = self._at(i - 1)
                is_macro = macro.value in MACROS and self._at(i - 2).value == "."
                if is_macro and any(inside):
                    self._expect(macro, macro.value, "no macro inside the parentheses of another", ())
                inside.append(is_macro)
            elif token.value == ")" and inside:
                inside.pop()

    def _expect(self, token: Token, found: str, expected: str, known: Iterable[str]) -> None:
        self.found.problems.append((token.at, found, expected + did_you_mean(found.rpartition(".")[2], known)))
