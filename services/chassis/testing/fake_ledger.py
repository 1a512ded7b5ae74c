"""The ledger without a server: production's Ledger on a Redis in memory that knows exactly the ledger's commands.

Only the server's half is imitated (FakeServer does in Python what claim.lua and apply.lua do); what a client decides,
asks twice or counts is the code that runs in production. Both halves together pass tests/conformance/test_ledger.py.
"""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, cast

import redis
from redis.exceptions import ResponseError

from services.chassis.redis.ledger import Ledger, script_text

Argument = bytes | str | int | float
# Called with "before" or "after" and the command (name, arguments…) around everything a client asks. To lose a request
# or its answer raise redis.ConnectionError; anything else ends the client there, as a crash would.
Hook = Callable[[str, tuple[Argument, ...]], None]
Script = Callable[[list[str], list[bytes]], object]

_PACKAGE = "services.chassis.redis"
CLAIM = script_text(_PACKAGE, "claim.lua")
APPLY = script_text(_PACKAGE, "ledger.lua") + script_text(_PACKAGE, "apply.lua")
AMEND = script_text(_PACKAGE, "amend.lua")
REBASE = script_text(_PACKAGE, "rebase.lua")


class FakeServer:
    """The data of one Redis, shared by any number of clients. Keys are text, values bytes, as Redis keeps them."""

    def __init__(self) -> None:
        self.strings: dict[str, bytes] = {}
        self.hashes: dict[str, dict[str, bytes]] = {}
        self.lists: dict[str, list[bytes]] = {}
        self.sets: dict[str, set[bytes]] = {}
        self.zsets: dict[str, dict[str, float]] = {}
        self.life = 0  # how often it was started
        self.scripts: dict[str, Script] = {
            CLAIM: self.claim, APPLY: self.apply, AMEND: self.amend, REBASE: self.rebase,
        }  # fmt: skip

    def execute(self, command: tuple[Argument, ...]) -> object:
        """Run one command; atomic, like everything a Redis does."""
        name, *rest = command
        if name == "EVALSHA":
            count = int(rest[1])
            return self.run_script(
                str(rest[0]), [str(key) for key in rest[2 : 2 + count]], [*map(to_bytes, rest[2 + count :])]
            )
        return getattr(self, f"_{str(name).lower()}")(*map(to_bytes, rest))

    def saved(self) -> list[dict[str, Any]]:
        """A copy of all data."""
        kinds: list[dict[str, Any]] = [self.hashes, self.lists, self.sets, self.zsets]
        return [dict(self.strings), *({key: copy(value) for key, value in kept.items()} for kept in kinds)]

    def restore(self, saved: list[dict[str, Any]]) -> None:
        """The data of an earlier moment; what was saved may be restored once."""
        self.strings, self.hashes, self.lists, self.sets, self.zsets = saved
        self.life += 1

    def run_script(self, text: str, keys: list[str], arguments: list[bytes]) -> object:
        """One script, from beginning to end."""
        return self.scripts[text](keys, arguments)

    def claim(self, keys: list[str], args: list[bytes]) -> object:
        """See claim.lua."""
        if keys[0] not in self.hashes and not args[2]:
            return [b"NONE"]
        meta = self.hashes.setdefault(keys[0], {})
        if "version" not in meta:
            meta |= {
                "version": b"1", "generation": b"1", "cluster": args[0], "topic": args[1], "epoch": b"0",
                "position": args[2], "batch": b"", "blob": b"", "tries": b"-1", "tries_position": args[2],
            }  # fmt: skip
        elif (meta["version"], meta["cluster"], meta["topic"]) != (b"1", args[0], args[1]):
            return [b"FOREIGN", meta["version"], meta["cluster"], meta["topic"]]
        meta["epoch"] = _plus_one(meta["epoch"])
        if meta["position"] == meta["tries_position"]:
            meta["tries"] = _plus_one(meta["tries"])
        else:
            meta["tries"], meta["tries_position"] = b"0", meta["position"]
        waits = [part for member, key in self.hashes.get(keys[2], {}).items() for part in (member.encode(), key)]
        found = [meta[name] for name in ("epoch", "generation", "position", "blob", "tries", "batch")]
        return [b"OK", found, list(self.lists.get(keys[1], [])), waits]

    def apply(self, keys: list[str], args: list[bytes]) -> object:
        """See apply.lua."""
        why = self.refused(keys[0], *args[:3])
        if why:
            return why
        sets, deletes, due, undue, waits, unwaits = self._arguments(keys[0], args)
        self.strings |= {key.decode(): value for key, value in zip(sets[::2], sets[1::2], strict=True)}
        for key in deletes:
            self.strings.pop(key.decode(), None)
        timers = self.zsets.setdefault(keys[3], {})
        timers |= {member.decode(): float(score) for score, member in zip(due[::2], due[1::2], strict=True)}
        for member in undue:
            timers.pop(member.decode(), None)
        waiting = self.hashes.setdefault(keys[2], {})
        waiting |= {member.decode(): key for member, key in zip(waits[::2], waits[1::2], strict=True)}
        for member in unwaits:
            waiting.pop(member.decode(), None)
        self.commit(keys[0], keys[1], args)
        return b"OK"

    def refused(self, meta_key: str, epoch: bytes, batch: bytes, position: bytes) -> bytes:
        """Why a batch must not be applied; empty when it may."""
        meta = self.hashes.get(meta_key, {})
        if meta.get("epoch") != epoch:
            return b"FENCED"
        if meta["batch"] == batch:
            return b"ALREADY"
        if meta["position"] != position:
            return b"MISMATCH"
        of, _, number = meta["batch"].partition(b".")
        return b"MISMATCH" if of == epoch and int(batch.partition(b".")[2]) < int(number) else b""

    def commit(self, meta_key: str, outbox_key: str, args: list[bytes]) -> None:
        """Trim, append, position."""
        batch, position, trim, blob, entry, log_ms = args[1], args[3], int(args[4]), args[5], args[6], args[7]
        outbox = self.lists.setdefault(outbox_key, [])
        del outbox[:trim]
        if entry:
            outbox.append(entry)
        meta = self.hashes[meta_key]
        if log_ms:
            meta["log_ms"] = log_ms
        meta |= {"batch": batch, "blob": blob, "position": position}

    def _arguments(self, meta_key: str, args: list[bytes]) -> list[list[bytes]]:
        lists, at = [], 8
        for _ in range(6):
            if at >= len(args) or not args[at].isdigit():
                raise ResponseError("a counted list is missing")
            count = int(args[at])
            lists.append(args[at + 1 : at + 1 + count])
            at += count + 1  # beyond the end: noticed below, like everything else before anything is changed
        sets, deletes, due, _, waits, _ = lists
        if at != len(args) or any(len(pairs) % 2 for pairs in (sets, due, waits)):
            raise ResponseError("ledger: argument lists do not add up")
        if not all(moment.lstrip(b"-").isdigit() for moment in due[::2]):
            raise ResponseError("ledger: a moment is no number")
        tag = meta_key[: meta_key.index("}") + 1].encode()
        if not all(key.startswith(tag) for key in [*sets[::2], *deletes]):
            raise ResponseError("ledger: a key of another slot")
        return lists

    def amend(self, keys: list[str], args: list[bytes]) -> object:
        """See amend.lua."""
        meta = self.hashes.get(keys[0], {})
        if [meta.get(name) for name in ("version", "cluster", "topic")] != [b"1", *args[:2]]:
            return b"FOREIGN"
        if [meta["position"], meta["blob"]] != args[2:4]:
            return b"MOVED"
        meta |= {"position": args[4], "blob": args[5], "tries": b"-1", "tries_position": args[4]}
        meta["epoch"] = _plus_one(meta["epoch"])
        return b"OK"

    def rebase(self, keys: list[str], args: list[bytes]) -> object:
        """See rebase.lua."""
        if self.lists.get(keys[1]) or self.hashes.get(keys[2]):
            return b"BUSY"
        meta = self.hashes.get(keys[0])
        if meta is None:
            return b"NONE"
        if [meta["cluster"], meta["topic"]] == args[:2]:
            return b"SAME"
        meta |= {"cluster": args[0], "topic": args[1], "position": args[2], "tries_position": args[2]}
        meta["epoch"], meta["generation"] = _plus_one(meta["epoch"]), _plus_one(meta["generation"])
        meta |= {"blob": b"", "batch": meta["epoch"] + b".0", "tries": b"-1"}
        return b"OK"

    def _sadd(self, key: bytes, member: bytes) -> int:
        self.sets.setdefault(to_text(key), set()).add(member)
        return 1

    def _hget(self, key: bytes, field: bytes) -> bytes | None:
        return self.hashes.get(to_text(key), {}).get(to_text(field))

    def _hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        return [self._hget(key, field) for field in fields]

    def _hlen(self, key: bytes) -> int:
        return len(self.hashes.get(to_text(key), {}))

    def _llen(self, key: bytes) -> int:
        return len(self.lists.get(to_text(key), []))

    def _smembers(self, key: bytes) -> set[bytes]:
        return set(self.sets.get(to_text(key), set()))

    def _hincrby(self, key: bytes, field: bytes, amount: bytes) -> int:
        found = self.hashes.setdefault(to_text(key), {})
        found[to_text(field)] = b"%d" % (int(found.get(to_text(field), b"0")) + int(amount))
        return int(found[to_text(field)])

    def _hdel(self, key: bytes, field: bytes) -> int:
        return int(self.hashes.get(to_text(key), {}).pop(to_text(field), None) is not None)

    def _del(self, *keys: bytes) -> int:
        return sum(self.strings.pop(to_text(key), None) is not None for key in keys)

    def _mget(self, *keys: bytes) -> list[bytes | None]:
        return [self.strings.get(to_text(key)) for key in keys]

    def _due(self, key: bytes, upto: bytes, limit: bytes) -> list[bytes]:
        timers = self.zsets.get(to_text(key), {})
        found = sorted((score, member) for member, score in timers.items() if score <= float(upto))
        return [member.encode() for _, member in found[: int(limit)]]

    def _zscan(self, key: bytes, cursor: bytes, count: bytes) -> tuple[int, list[tuple[bytes, float]]]:
        members = sorted(self.zsets.get(to_text(key), {}).items())
        upto = int(cursor) + int(count)
        found = [(member.encode(), score) for member, score in members[int(cursor) : upto]]
        return upto if upto < len(members) else 0, found


class FakeRedis:
    """One client's connection: the few methods of redis.Redis that Ledger and operators' commands on it use."""

    def __init__(self, server: FakeServer, hook: Hook | None = None) -> None:
        self.server, self.hook = server, hook

    def execute_command(self, *command: Argument) -> object:
        """Everything goes through here."""
        life = self.server.life
        if self.hook is not None:
            self.hook("before", command)
        if self.server.life != life:  # a connection does not outlive the server's process
            raise redis.ConnectionError("reset")
        answer = self.server.execute(command)
        if self.hook is not None:
            self.hook("after", command)
        return answer

    def register_script(self, text: str) -> Callable[..., object]:
        """A callable with the arguments of redis-py's Script."""

        def run(keys: Sequence[str], args: Sequence[Argument]) -> object:
            return self.execute_command("EVALSHA", text, len(keys), *keys, *args)

        return run

    def sadd(self, key: str, member: str) -> object:
        """SADD."""
        return self.execute_command("SADD", key, member)

    def hget(self, key: str, field: str) -> object:
        """HGET."""
        return self.execute_command("HGET", key, field)

    def hmget(self, key: str, fields: Sequence[str]) -> object:
        """HMGET."""
        return self.execute_command("HMGET", key, *fields)

    def hlen(self, key: str) -> object:
        """HLEN."""
        return self.execute_command("HLEN", key)

    def llen(self, key: str) -> object:
        """LLEN."""
        return self.execute_command("LLEN", key)

    def smembers(self, key: str) -> object:
        """SMEMBERS."""
        return self.execute_command("SMEMBERS", key)

    def hincrby(self, key: str, field: str, amount: int) -> object:
        """HINCRBY."""
        return self.execute_command("HINCRBY", key, field, amount)

    def hdel(self, key: str, field: str) -> object:
        """HDEL."""
        return self.execute_command("HDEL", key, field)

    def delete(self, *keys: str) -> object:
        """DEL."""
        return self.execute_command("DEL", *keys)

    def mget(self, keys: Sequence[str]) -> object:
        """MGET."""
        return self.execute_command("MGET", *keys)

    def zrange(self, key: str, start: str, end: int, byscore: bool, offset: int, num: int) -> object:
        """ZRANGE -inf … BYSCORE LIMIT 0 num."""
        assert (start, byscore, offset) == ("-inf", True, 0)
        return self.execute_command("DUE", key, end, num)

    def zscan(self, key: str, cursor: int, count: int) -> object:
        """ZSCAN; a cursor is a place in the sorted members."""
        return self.execute_command("ZSCAN", key, cursor, count)


class FakeLedger(Ledger):
    """A Ledger on a FakeServer. Owners that shall compete get one each, on the same server."""

    def __init__(self, server: FakeServer | None = None, hook: Hook | None = None) -> None:
        self.connection = FakeRedis(server or FakeServer(), hook)
        super().__init__(cast("redis.Redis", self.connection), lambda: self.connection.server.life)


def to_bytes(value: Argument) -> bytes:
    """As redis-py sends it."""
    if isinstance(value, bytes):
        return value
    return repr(value).encode() if isinstance(value, float) else str(value).encode("utf-8", "surrogateescape")


def to_text(raw: bytes) -> str:
    """A key or a field as the server keeps it; any bytes can be one."""
    return raw.decode("utf-8", "surrogateescape")


def _plus_one(value: bytes) -> bytes:
    return b"%d" % (int(value) + 1)
