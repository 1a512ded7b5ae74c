"""Encoded states of recently used customers."""

from collections import OrderedDict
from collections.abc import Iterable


class Cache:
    """Encoded states of recently used customers; belongs to one claim. Bytes, so that a batch never spoils it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[str, bytes | None] = OrderedDict()

    def known(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """Those of the names that need not be loaded (None: known not to exist)."""
        found = {}
        for name in names:
            if name in self._items:
                self._items.move_to_end(name)
                found[name] = self._items[name]
        return found

    def put(self, name: str, value: bytes | None) -> None:
        """Remember a value (None: known not to exist); the oldest ones are forgotten."""
        self._items[name] = value
        self._items.move_to_end(name)
        if len(self._items) > self._limit:
            self._items.popitem(last=False)
