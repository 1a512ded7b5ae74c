"""The graph behind one port: the script that resolves a batch, look-ups, and the purge of old message ids."""

import time
from collections.abc import Sequence
from pathlib import Path

import msgpack
import yaml

from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import fp
from services.chassis.ids import digest, uuid_text
from services.chassis.redis.claim import Claim
from services.chassis.redis.client import RedisClient, RedisError, sync_client
from services.chassis.redis.ledger import Ledger, script_text
from services.chassis.redis.slots import Slot
from services.chassis.yaml_file import load_yaml
from services.identity import metrics
from services.identity.core.homes import Home, parse_home
from services.identity.core.policy import Policy, PolicyError, parse_policy

SERVICE = "identity"
TAG = Slot(SERVICE, 0, shared=True).tag
# UUIDv5 namespace of customer ids (RFC 9562 §5.5); changing it renames every customer.
NAMESPACE = bytes.fromhex("6f1c2d5e8a3b5c7d9e0f1a2b3c4d5e6f")


def load_policy(path: str) -> Policy:
    """The checked policy of a YAML file. Raises Fatal naming the file and every mistake in it."""
    try:
        return parse_policy(load_yaml(Path(path).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, PolicyError) as error:
        raise Fatal(f"identity policy {path}: {error}") from error


class Encoder:
    """`kind:value` → the 17 bytes that name it in the graph."""

    def __init__(self, policy: Policy, key: bytes) -> None:
        codes = {name: bytes([kind.code]) for name, kind in policy.kinds.items()}

        def encode(identifier: str) -> bytes:
            kind, _, value = identifier.partition(":")
            return codes[kind] + digest(kind, value, key)

        self.encode = encode


class Graph:
    """The identity graph in one Redis primary. Everything it does to the graph happens inside resolve.lua."""

    def __init__(
        self, ledger: Ledger, policy: Policy, is_told: bool = False, since: tuple[int, int] | None = None
    ) -> None:
        """is_told: the first batch under another policy than before tells it (see policies.py); `since`: as if with
        this log time and offset."""
        self._ledger, self._policy = ledger, policy
        self._told: dict[str, str | int] = {"version": policy.version} if is_told else {}
        if since is not None:
            self._told |= {"since_ms": since[0], "since_offset": since[1]}
        self._blobs: dict[int, bytes] = {}
        prefix = script_text("services.chassis.redis", "ledger.lua")
        self._resolve = ledger.client.register_script(prefix + script_text("services.identity", "resolve.lua"))
        self._purge = ledger.client.register_script(script_text("services.identity", "purge.lua"))

    def resolve(self, claim: Claim, events: bytes, seen: dict[str, int], position: int, log_ms: int) -> bytes:
        """Apply one batch; returns the decisions (empty when everything was a duplicate).

        Raises Fenced, Mismatch, Retriable like Ledger.apply.
        """
        started = time.perf_counter()
        partition = claim.slot.partition
        if partition not in self._blobs:
            self._blobs[partition] = self._policy_blob(partition)
        arguments: list[bytes | str | int] = [TAG, events, self._blobs[partition]]
        answer = self._ledger.run(claim, self._resolve, b"", arguments, seen, position, log_ms, keys=[])
        metrics.SCRIPT_S.observe(time.perf_counter() - started)
        assert isinstance(answer, list)
        metrics.DUPLICATES.inc(answer[2])
        metrics.ERASED.inc(answer[3])
        metrics.UNTOLD.inc(answer[4])
        return bytes(answer[1])

    def _policy_blob(self, partition: int) -> bytes:
        policy = self._policy
        blob: bytes = msgpack.packb(
            {
                "partition": partition,
                "limits": {kind.code: kind.limit for kind in policy.kinds.values() if kind.limit},
                "frozen": {kind.code: True for kind in policy.kinds.values() if not kind.may_merge},
                "ttl_days": {kind.code: kind.ttl_days for kind in policy.kinds.values() if kind.ttl_days},
                "hold_days": policy.hold_days,
                "said_most": policy.said_most,
                "known": {kind.code: True for kind in policy.kinds.values() if kind.is_known},
                "max_size": policy.max_size,
                "window_ms": policy.window_ms,
                "bucket_ms": policy.bucket_ms,
                "namespace": NAMESPACE,
                **self._told,
            },
            use_bin_type=False,  # Lua's cmsgpack knows no `bin`
        )
        return blob

    def newest_log_ms(self, partitions: int) -> int:
        """The newest log time any partition has worked off; 0 before the first."""
        try:
            fp("before_log_times", RedisError)
            found = [self._ledger.client.hget(Slot(SERVICE, p, True).ledger, "log_ms") for p in range(partitions)]
            fp("after_log_times", RedisError)
        except RedisError as error:
            raise Retriable(f"log times of identity's ledgers: {error}") from error
        return max((int(value) for value in found if value is not None), default=0)

    def purge(self, partitions: int) -> int:
        """Drop message-id buckets that the slowest partition has left behind; returns how many."""
        ledgers = [Slot(SERVICE, p, True).ledger for p in range(partitions)]
        try:
            fp("before_purge", RedisError)
            count = int(self._purge(keys=[], args=[TAG, self._policy.window_ms, self._policy.bucket_ms, *ledgers]))
            fp("after_purge", RedisError)
        except RedisError as error:
            raise Retriable(f"purge of message ids: {error}") from error
        metrics.PURGED.inc(count)
        return count


class Lookup:
    """Read-only questions for operators' tools."""

    def __init__(self, redis_url: str, policy: Policy, key: bytes) -> None:
        self._client = sync_client(redis_url)
        self._encode = Encoder(policy, key).encode

    def customers_of(self, identifiers: list[str]) -> list[str | None]:
        """Customer ids (UUID text) of standardised `kind:value` identifiers; None when unknown or erased."""
        if not identifiers:
            return []
        try:
            found = current_homes(self._client, [self._encode(identifier) for identifier in identifiers])
        except RedisError as error:
            raise Retriable(f"the identity graph does not answer: {error}") from error
        return [uuid_text(home.customer) if home and home.customer else None for home in found]


def current_homes(client: RedisClient, identifiers: Sequence[bytes]) -> list[Home | None]:
    """Whose identifiers (17 bytes each) are now; None of those that the graph does not know. Raises RedisError."""
    found = [parse_home(raw) if raw else None for raw in _stored(client, identifiers)]
    moved = [(place, home.node) for place, home in enumerate(found) if home and home.node]
    for (place, _), raw in zip(moved, _stored(client, [node for _, node in moved]), strict=True):
        found[place] = parse_home(raw) if raw else None
    return found


def _stored(client: RedisClient, nodes: Sequence[bytes]) -> list[bytes | None]:
    prefix = f"{TAG}:i:".encode()
    found = client.mget([prefix + node for node in nodes]) if nodes else []
    return [raw if isinstance(raw, bytes) else None for raw in found]
