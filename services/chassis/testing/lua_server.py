"""A Redis in memory that runs the scripts themselves, in Lua 5.1, as a server does.

Scripts see KEYS, ARGV, redis.call, redis.sha1hex, redis.error_reply, struct and cmsgpack; values turn into each other
as in a server (numbers are cut off to integers, a missing value is false). A new global is an error, as it is there.
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from lupa import lua51
from redis.exceptions import ResponseError

from services.chassis.testing.fake_ledger import FakeServer, to_bytes, to_text

_RUNNER = b"""
local struct, cmsgpack, call, sha1hex = ...
local redis = {call = call, sha1hex = sha1hex, error_reply = function(text) return {err = text} end}
local known = {
  redis = redis, struct = struct, cmsgpack = cmsgpack, string = string, table = table, math = math,
  ipairs = ipairs, pairs = pairs, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack, error = error,
  next = next, pcall = pcall, select = select,
}
local strict = setmetatable({}, {
  __index = function(_, name)
    local value = known[name]
    if value == nil then error('Script attempted to access nonexistent global variable \\'' .. name .. '\\'') end
    return value
  end,
  __newindex = function(_, name) error('Attempt to modify a readonly table: ' .. name) end,
})
return function(text)
  local chunk = assert(loadstring('return function(KEYS, ARGV)\\n' .. text .. '\\nend', '=user_script'))()
  return setfenv(chunk, strict)
end
"""


class _Engine:
    """One Lua for the whole process; `server` is whose script runs."""

    def __init__(self) -> None:
        self.lua = lua51.LuaRuntime(
            encoding=None, unpack_returned_tuples=True, register_eval=False, register_builtins=False
        )
        self.server: LuaServer | None = None
        self.to_table = self.lua.table_from
        libraries = files("services.chassis.testing").joinpath("redis_libraries.lua").read_bytes()
        struct, cmsgpack = self.lua.execute(libraries)
        self._compile: Callable[[bytes], Any] = self.lua.execute(_RUNNER, struct, cmsgpack, self._call, _sha1hex)
        self.compiled: Callable[[str], Any] = cache(lambda text: self._compile(text.encode()))

    def _call(self, name: bytes, *arguments: bytes | int | float) -> Any:
        assert self.server is not None
        command: Callable[..., object] = getattr(self.server, "_" + name.decode().lower())
        answer = command(*map(_argument, arguments))
        if answer is None:
            return False
        if isinstance(answer, list):
            return self.to_table([False if item is None else item for item in answer])
        return answer


def _sha1hex(data: bytes) -> bytes:
    return sha1(data).hexdigest().encode()


def _argument(value: bytes | int | float) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"%d" % value if isinstance(value, int) else b"%.17g" % value


@cache
def _engine() -> _Engine:
    return _Engine()


class LuaServer(FakeServer):
    """A FakeServer on which every script runs. `twins`: which of them run in Python after all, by text (faster)."""

    def __init__(self, twins: bool = False) -> None:
        super().__init__()
        if not twins:
            self.scripts = {}

    def run_script(self, text: str, keys: list[str], arguments: list[bytes]) -> object:
        """One script, from beginning to end."""
        twin = self.scripts.get(text)
        if twin is not None:
            return twin(keys, arguments)
        engine = _engine()
        engine.server = self
        script = engine.compiled(text)
        try:
            answer = script(
                engine.to_table([key.encode("utf-8", "surrogateescape") for key in keys]), engine.to_table(arguments)
            )
        except lua51.LuaError as error:
            raise ResponseError(str(error)) from error
        finally:
            engine.server = None
        return _reply(answer)

    def _get(self, key: bytes) -> bytes | None:
        return self.strings.get(to_text(key))

    def _mset(self, *pairs: bytes) -> bytes:
        self.strings.update(zip(map(to_text, pairs[::2]), pairs[1::2], strict=True))
        return b"OK"

    def _exists(self, key: bytes) -> int:
        name = to_text(key)
        return int(any(kept.get(name) for kept in (self.strings, self.hashes, self.lists, self.sets, self.zsets)))

    def _unlink(self, key: bytes) -> int:
        name = to_text(key)
        kinds: tuple[dict[str, Any], ...] = (self.strings, self.hashes, self.lists, self.sets, self.zsets)
        return sum(kept.pop(name, None) is not None for kept in kinds)

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        fields, before = self.hashes.setdefault(to_text(key), {}), len(self.hashes[to_text(key)])
        fields.update(zip(map(to_text, pairs[::2]), pairs[1::2], strict=True))
        return len(fields) - before

    def _hgetall(self, key: bytes) -> list[bytes]:
        return [part for field, value in self.hashes.get(to_text(key), {}).items() for part in (to_bytes(field), value)]

    def _hdel(self, key: bytes, *fields: bytes) -> int:
        found = self.hashes.get(to_text(key), {})
        return sum(found.pop(to_text(field), None) is not None for field in fields)

    def _lrange(self, key: bytes, start: bytes, stop: bytes) -> list[bytes]:
        assert (start, stop) == (b"0", b"-1")
        return list(self.lists.get(to_text(key), []))

    def _lindex(self, key: bytes, at: bytes) -> bytes | None:
        found = self.lists.get(to_text(key), [])
        return found[int(at)] if -len(found) <= int(at) < len(found) else None

    def _ltrim(self, key: bytes, start: bytes, stop: bytes) -> bytes:
        assert stop == b"-1"
        del self.lists.get(to_text(key), [])[: int(start)]
        return b"OK"

    def _rpush(self, key: bytes, *values: bytes) -> int:
        found = self.lists.setdefault(to_text(key), [])
        found.extend(values)
        return len(found)

    def _sadd(self, key: bytes, *members: bytes) -> int:
        found = self.sets.setdefault(to_text(key), set())
        before = len(found)
        found.update(members)
        return len(found) - before

    def _srem(self, key: bytes, *members: bytes) -> int:
        found = self.sets.get(to_text(key), set())
        before = len(found)
        found.difference_update(members)
        return before - len(found)

    def _smembers(self, key: bytes) -> list[bytes]:  # type: ignore[override]  # the same order in every run
        return sorted(self.sets.get(to_text(key), set()))

    def _smismember(self, key: bytes, *members: bytes) -> list[int]:
        found = self.sets.get(to_text(key), set())
        return [int(member in found) for member in members]

    def _zadd(self, key: bytes, *pairs: bytes) -> int:
        members = self.zsets.setdefault(to_text(key), {})
        members.update(zip(map(to_text, pairs[1::2]), map(float, pairs[::2]), strict=True))
        return 0

    def _zrem(self, key: bytes, *members: bytes) -> int:
        found = self.zsets.get(to_text(key), {})
        return sum(found.pop(to_text(member), None) is not None for member in members)


def _reply(answer: Any) -> object:
    """What a client is answered."""
    if answer is None or answer is False:
        return None
    if answer is True:
        return 1
    if isinstance(answer, float):
        return int(answer)
    if not lua51.lua_type(answer):
        return answer
    if answer[b"err"] is not None:
        raise ResponseError(answer[b"err"].decode())
    found: list[object] = []
    while (item := answer[len(found) + 1]) is not None:
        found.append(_reply(item))
    return found
