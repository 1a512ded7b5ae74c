"""Reading a parsed YAML document: every mistake is noted with its key, what was expected and what was found."""

import re
from collections.abc import Mapping, Sequence


class Reader:
    """One mapping of the document. `problems` is shared by all readers of a document."""

    def __init__(self, body: object, where: str, problems: list[str]) -> None:
        self.where, self.problems = where, problems
        self._known: set[str] = set()
        self.body: Mapping[str, object] = {}
        if isinstance(body, dict) and body:
            self.body = {str(key): value for key, value in body.items()}
        else:
            problems.append(f"{where or 'the file'}: expected a mapping, got {body!r}")

    def key(self, name: str) -> str:
        """The path of a key of this mapping."""
        return f"{self.where}.{name}" if self.where else name

    def wrong(self, name: str, expected: str, got: object) -> None:
        """Note a mistake."""
        self.problems.append(f"{self.key(name)}: expected {expected}, got {got!r}")

    def _take(self, name: str, default: object) -> object:
        self._known.add(name)
        return self.body.get(name, default)

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number from `least` to `most`."""
        value = self._take(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.wrong(name, f"a whole number from {least} to {most}", value)
            return max(default, least)
        return value

    def truth(self, name: str, default: bool) -> bool:
        """true or false."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            self.wrong(name, "true or false", value)
            return default
        return value

    def one_of(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """One of these texts."""
        value = self._take(name, default)
        if value not in allowed:
            self.wrong(name, f"one of {', '.join(text for text in allowed if text)}", value)
            return default
        return str(value)

    def texts(self, name: str) -> list[str]:
        """A list of texts or numbers, as texts; empty when it is left out."""
        value = self._take(name, [])
        if not isinstance(value, list) or any(isinstance(item, (dict, list, bool)) or item is None for item in value):
            self.wrong(name, "a list of values", value)
            return []
        return [str(item) for item in value]

    def patterns(self, name: str) -> tuple[re.Pattern[str], ...]:
        """A list of regular expressions."""
        found = []
        for text in self.texts(name):
            try:
                found.append(re.compile(text))
            except re.error as error:
                self.wrong(name, f"regular expressions ({error})", text)
        return tuple(found)

    def some_of(self, name: str, allowed: Sequence[str]) -> frozenset[str]:
        """A list of these texts."""
        found = self.texts(name)
        for text in found:
            if text not in allowed:
                self.wrong(name, f"some of {', '.join(allowed)}", text)
        return frozenset(found)

    def inner(self, name: str, is_needed: bool) -> "dict[str, Reader]":
        """The mappings that stand under a key, by their names."""
        value = self._take(name, None)
        if not value and not is_needed and value in (None, {}):
            return {}
        outer = Reader(value, self.key(name), self.problems)
        return {key: Reader(body, outer.key(key), self.problems) for key, body in outer.body.items()}

    def end(self) -> None:
        """Note every key that nobody asked for."""
        for name in self.body:
            if name not in self._known:
                self.problems.append(
                    f"{self.key(name)}: unknown key, expected one of {', '.join(sorted(self._known))},"
                    f" got {self.body[name]!r}"
                )
