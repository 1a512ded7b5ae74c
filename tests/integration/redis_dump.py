"""Everything in a Redis as plain values, so that two of them can be compared key by key."""

from typing import Any, cast

import msgspec
import redis

from services.chassis.redis.claim import Channels

# What a rebuild cannot give back, or need not: who owned a partition how often, the last batch's own name, attempts,
# the recent share of dead letters.
LEDGER_LEFT_OUT = frozenset((b"epoch", b"batch", b"tries", b"tries_position", b"has_entry", b"log_ms", b"blob"))
_channels = msgspec.msgpack.Decoder(Channels)


def dump(client: "redis.Redis") -> dict[str, Any]:
    """Key → value, by type; ledgers without what belongs to a process and not to the state."""
    found: dict[str, Any] = {}
    keys = list(client.scan_iter(count=1_000))
    for at in range(0, len(keys), 1_000):
        part = keys[at : at + 1_000]
        pipe = client.pipeline(transaction=False)
        for key in part:
            pipe.type(key)
        kinds = pipe.execute()
        for key, kind in zip(part, kinds, strict=True):
            _ask(pipe, key, kind)
        for key, kind, value in zip(part, kinds, pipe.execute(), strict=True):
            name = cast(bytes, key).decode("latin-1")
            found[name] = _ledger(value) if b"}:ledger:" in key else _plain(kind, value)
    return found


def _ask(pipe: Any, key: bytes, kind: bytes) -> None:
    if kind == b"string":
        pipe.get(key)
    elif kind == b"hash":
        pipe.hgetall(key)
    elif kind == b"list":
        pipe.lrange(key, 0, -1)
    elif kind == b"set":
        pipe.smembers(key)
    else:
        pipe.zrange(key, 0, -1, withscores=True)


def _plain(kind: bytes, value: Any) -> Any:
    if kind in (b"string", b"list"):
        return value
    if kind == b"hash":
        return dict(sorted(value.items()))
    return sorted(value)


def _ledger(value: dict[bytes, bytes]) -> dict[str, Any]:
    raw = value.get(b"blob", b"")
    channels = _channels.decode(raw) if raw else Channels()
    kept: dict[str, Any] = {name.decode(): text for name, text in value.items() if name not in LEDGER_LEFT_OUT}
    return kept | {"seen": channels.seen, "base": channels.base, "extra": channels.extra}


def differences(before: dict[str, Any], after: dict[str, Any], left_out: tuple[str, ...] = ()) -> list[str]:
    """What is not the same, one line each; keys that begin with one of `left_out` are passed over."""
    found = []
    for key in sorted(before.keys() | after.keys()):
        if key.startswith(left_out):
            continue
        old, new = before.get(key), after.get(key)
        if old != new:
            found.append(f"{key!r}: {str(old)[:500]} -> {str(new)[:500]}")
    return found
