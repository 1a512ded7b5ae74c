"""The ledger: a service's input position, state and unsent outputs live in the same Redis and change in one script.

claim → own a partition under a new epoch; apply → one batch, all or nothing; acknowledge → what the next apply may
trim; accept → drop what was seen, stop at a gap. Everything above (the loop) may crash between any two of these calls.
The in-memory twin is services.chassis.testing.fake_ledger; both pass tests/conformance/test_ledger.py.
"""

from collections.abc import Callable
from importlib.resources import files
from typing import Protocol, cast

import msgspec
import redis
from redis.exceptions import RedisError

from services.chassis.errors import Fatal, Fenced, Retriable
from services.chassis.failpoints import fp
from services.chassis.marks import Mark
from services.chassis.records import Decision, Entry, pack_entry
from services.chassis.redis.claim import Channels, Claim
from services.chassis.redis.client import Server, durable_client
from services.chassis.redis.slots import Slot

REGISTRY_KEY = "touchstream:ledgers"  # set of service|topic|partition|shared: what operators' tools look through


class Mismatch(Retriable):
    """The stored position is not the one this batch starts from: drop caches and claim again."""


class NoLedger(Retriable):
    """There is no ledger where one must be; nothing was changed."""


class LedgerPort(Protocol):
    """What the loop needs; implemented by Ledger and by the fake."""

    def claim(self, slot: Slot, topic: str, cluster_id: str, topic_id: str, start: int | None) -> Claim: ...
    def mark(self, slot: Slot) -> Mark | None: ...
    def apply(self, claim: Claim, decision: Decision, seen: dict[str, int], position: int, log_ms: int) -> Entry: ...
    def touch(self, claim: Claim) -> None: ...
    def delete(self, keys: list[str]) -> None: ...
    def suspect(self, claim: Claim, offset: int) -> int: ...
    def acquit(self, claim: Claim, offset: int) -> None: ...
    def get_many(self, keys: list[str]) -> list[bytes | None]: ...
    def due(self, slot: Slot, now_ms: int, limit: int) -> list[str]: ...
    def scan_due(self, slot: Slot, cursor: int, count: int) -> tuple[int, list[str]]: ...


def script_text(package: str, name: str) -> str:
    """The text of a Lua script that ships next to its Python module."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def durable_ledger(url: str, relaxed: bool) -> "Ledger":
    """The ledger in a Redis that passed assert_durable. Raises Fatal, Retriable."""
    server = Server()
    return Ledger(durable_client(url, relaxed, server), lambda: server.life)


_decoder = msgspec.msgpack.Decoder(Channels)


class Ledger:
    """The ledger on Redis or Valkey. Raises Fenced, Mismatch, Retriable (server trouble), Fatal (foreign log)."""

    def __init__(self, client: "redis.Redis", life: Callable[[], int] = int) -> None:
        """`life` is another number when another server process answers: claims on a former one are of no use then.

        What it holds may be older than what the former one had acknowledged; only a new claim finds that out.
        """
        self.client, self._life = client, life
        prefix = script_text(__package__, "ledger.lua")
        self._claim = client.register_script(script_text(__package__, "claim.lua"))
        self._apply = client.register_script(prefix + script_text(__package__, "apply.lua"))

    def claim(self, slot: Slot, topic: str, cluster_id: str, topic_id: str, start: int | None) -> Claim:
        """Become the owner of a partition: earlier owners are fenced from this moment.

        `start` is where a ledger that does not exist yet begins (the log's first offset); None: raises NoLedger then.
        """
        first, life = "" if start is None else start, self._life()
        try:
            fp("before_claim", RedisError)
            self.client.sadd(REGISTRY_KEY, f"{slot.service}|{topic}|{slot.partition}|{int(slot.shared)}")
            fp("after_register", RedisError)
            answer = self._claim(keys=[slot.ledger, slot.outbox, slot.waits], args=[cluster_id, topic_id, first])
            fp("after_claim", RedisError)
        except RedisError as error:
            raise Retriable(f"claim of {slot.ledger} failed: {error}") from error
        if answer[0] == b"NONE":
            raise NoLedger(f"{slot.ledger} does not exist")
        if answer[0] == b"FOREIGN":
            found = [text.decode() for text in answer[1:]]
            raise Fatal(
                f"ledger {slot.ledger} belongs to version {found[0]}, cluster {found[1]}, topic id {found[2]}; this is"
                f" version 1, cluster {cluster_id}, topic id {topic_id} of {topic}. Positions of another log would lose"
                " or repeat events. Point the service at its own Kafka, or rebase the ledgers on purpose after draining"
                " (touchstream rebase)."
            )
        epoch, generation, position, blob, tries, batch = answer[1]
        channels = _decoder.decode(blob) if blob else Channels()
        waits = {answer[3][i].decode(): answer[3][i + 1].decode() for i in range(0, len(answer[3]), 2)}
        return Claim(
            slot, int(epoch), int(generation), int(position), int(tries), channels.seen, channels.base, answer[2],
            waits, channels.extra, topic=topic, poisoned=channels.poisoned, batch=(batch or b"").decode(), life=life,
        )  # fmt: skip

    def apply(self, claim: Claim, decision: Decision, seen: dict[str, int], position: int, log_ms: int) -> Entry:
        """Change everything of `decision` and move the position, or nothing. Returns what is to be relayed."""
        entry = Entry(decision.outputs, decision.late_deletes)
        blob = pack_entry(entry) if entry.outputs or entry.late_deletes else b""
        lists = _lists(decision)
        self.run(claim, self._apply, blob, lists, seen, position, log_ms)
        if blob:
            claim.append(entry)
        for member, key in decision.waits.items():
            if key is None:
                claim.waits.pop(member, None)
            else:
                claim.waits[member] = key
        return entry

    def run(
        self, claim: Claim, script: "redis.commands.core.Script", blob: bytes, arguments: list[bytes | str | int],
        seen: dict[str, int], position: int, log_ms: int, keys: list[str] | None = None,
    ) -> object:  # fmt: skip
        """Run a script that begins with ledger.lua; on success the claim stands at `position`.

        An answer lost on the way is asked for once more with the same batch id: ALREADY then means success. Lost again,
        the claim is of no more use: Retriable now and at every later call.
        Returns the script's answer (b"OK" or b"ALREADY" for apply.lua).
        """
        self._refuse_stale(claim)
        trim, base = claim.take_trim()
        channels = msgspec.msgpack.encode(Channels(seen, base, claim.extra, claim.poisoned))
        batch = f"{claim.epoch}.{claim.applied + 1}"
        slot = claim.slot
        head: list[bytes | str | int] = [
            claim.epoch,
            batch,
            claim.position,
            position,
            trim,
            channels,
            blob,
            log_ms or "",
        ]
        all_keys = [slot.ledger, slot.outbox, *(keys if keys is not None else [slot.waits, slot.due])]
        claim.is_uncertain = True
        answer = self._twice(claim, script, all_keys, head + arguments)
        claim.is_uncertain = False
        status = answer[0] if isinstance(answer, list) else answer
        if status == b"FENCED":
            raise Fenced(f"{slot.ledger}: epoch {claim.epoch} is no longer the owner")
        if status == b"MISMATCH":
            raise Mismatch(f"{slot.ledger}: the stored position is not {claim.position}")
        claim.applied += 1
        if trim == len(claim.stored):
            claim.sent_upto = claim.position
        claim.position, claim.seen, claim.base, claim.batch = position, seen, base, batch
        del claim.stored[:trim]
        claim.acknowledged = 0
        return answer

    def _twice(
        self, claim: Claim, script: "redis.commands.core.Script", keys: list[str], args: list[bytes | str | int]
    ) -> object:
        try:
            fp("before_apply", redis.ConnectionError)
            answer = script(keys=keys, args=args)
            fp("after_apply", redis.ConnectionError)
            return answer
        except (redis.ConnectionError, redis.TimeoutError):
            self._refuse_former_life(claim)  # else: it may have been applied, the same batch id asked again tells
        except RedisError as error:
            raise Retriable(f"apply to {keys[0]} failed: {error}") from error
        try:
            fp("before_apply_again", RedisError)
            answer = script(keys=keys, args=args)
            fp("after_apply_again", RedisError)
            return answer
        except RedisError as error:
            raise Retriable(f"apply to {keys[0]} failed twice: {error}") from error

    def touch(self, claim: Claim) -> None:
        """An idle owner's check that it still is the owner; also trims what has been acknowledged. Raises Fenced,
        Retriable when the claim's last script was not answered.
        """
        self._refuse_stale(claim)
        if claim.acknowledged:
            self.apply(claim, Decision(), claim.seen, claim.position, 0)
            return
        try:
            fp("before_touch", RedisError)
            epoch = self.client.hget(claim.slot.ledger, "epoch")
            fp("after_touch", RedisError)
        except RedisError as error:
            raise Retriable(f"{claim.slot.ledger}: {error}") from error
        if epoch != b"%d" % claim.epoch:
            raise Fenced(f"{claim.slot.ledger}: epoch {claim.epoch} is no longer the owner")

    def save_extra(self, claim: Claim, extra: bytes, seen: dict[str, int], position: int) -> None:
        """Store opaque bytes with the position (archive's intent); position compare-and-set as in apply."""
        former, claim.extra = claim.extra, extra
        try:
            self.apply(claim, Decision(), seen, position, 0)
        except Retriable:
            claim.extra = former
            raise

    def mark(self, slot: Slot) -> Mark | None:
        """How far a ledger has come, whoever owns it; None where there is none."""
        try:
            fp("before_mark", RedisError)
            position, batch = cast(list[bytes | None], self.client.hmget(slot.ledger, ["position", "batch"]))
            fp("after_mark", RedisError)
        except RedisError as error:
            raise Retriable(f"{slot.ledger}: {error}") from error
        return None if position is None else Mark(int(position), (batch or b"").decode())

    def _refuse_stale(self, claim: Claim) -> None:
        # With the same batch id something else would count as applied already; with another one the outbox might be
        # trimmed twice.
        if claim.is_uncertain:
            raise Retriable(f"{claim.slot.ledger}: what the last script did is not known, claim again")
        self._refuse_former_life(claim)

    def _refuse_former_life(self, claim: Claim) -> None:
        if claim.life != self._life():
            raise Retriable(f"{claim.slot.ledger}: Redis has been started anew, or another one answers; claim again")

    def delete(self, keys: list[str]) -> None:
        """Delete keys of any slot (idempotent: their names are never used again)."""
        try:
            fp("before_late_delete", RedisError)
            for key in keys:
                self.client.delete(key)
            fp("after_late_delete", RedisError)
        except RedisError as error:
            raise Retriable(f"late delete failed: {error}") from error

    def suspect(self, claim: Claim, offset: int) -> int:
        """Count an attempt at a record under suspicion; returns how many there have been, this one included."""
        try:
            fp("before_suspect", RedisError)
            attempts = int(self.client.hincrby(claim.slot.ledger, f"suspect:{offset}", 1))
            fp("after_suspect", RedisError)
            return attempts
        except RedisError as error:
            raise Retriable(f"{claim.slot.ledger}: {error}") from error

    def acquit(self, claim: Claim, offset: int) -> None:
        """Forget the attempts at a record: it did not end the process."""
        try:
            fp("before_acquit", RedisError)
            self.client.hdel(claim.slot.ledger, f"suspect:{offset}")
            fp("after_acquit", RedisError)
        except RedisError as error:
            raise Retriable(f"{claim.slot.ledger}: {error}") from error

    def get_many(self, keys: list[str]) -> list[bytes | None]:
        """Values of keys of one slot, in order; None where there is none."""
        if not keys:
            return []
        try:
            fp("before_load", RedisError)
            found = cast(list[bytes | None], list(self.client.mget(keys)))
            fp("after_load", RedisError)
            return found
        except RedisError as error:
            raise Retriable(f"read of {len(keys)} keys failed: {error}") from error

    def due(self, slot: Slot, now_ms: int, limit: int) -> list[str]:
        """Members whose moment has come, earliest first, at most `limit`."""
        try:
            fp("before_due", RedisError)
            found = self.client.zrange(slot.due, "-inf", now_ms, byscore=True, offset=0, num=limit)
            fp("after_due", RedisError)
        except RedisError as error:
            raise Retriable(f"{slot.due}: {error}") from error
        return [member.decode() for member in cast(list[bytes], found)]

    def scan_due(self, slot: Slot, cursor: int, count: int) -> tuple[int, list[str]]:
        """Some members that have a timer, whenever it is due, and the cursor to go on with (0: all were seen)."""
        try:
            fp("before_scan_due", RedisError)
            following, found = self.client.zscan(slot.due, cursor, count=count)
            fp("after_scan_due", RedisError)
        except RedisError as error:
            raise Retriable(f"{slot.due}: {error}") from error
        return int(following), [cast(bytes, member).decode() for member, _ in found]


def _lists(decision: Decision) -> list[bytes | str | int]:
    """The counted argument lists of apply.lua."""
    sets: list[bytes | str | int] = [part for pair in decision.sets.items() for part in pair]
    due: list[bytes | str | int] = [
        part for member, at in decision.due.items() if at is not None for part in (at, member)
    ]
    undue = [member for member, at in decision.due.items() if at is None]
    waits = [part for member, key in decision.waits.items() if key is not None for part in (member, key)]
    unwaits = [member for member, key in decision.waits.items() if key is None]
    out: list[bytes | str | int] = []
    for items in (sets, decision.deletes, due, undue, waits, unwaits):
        out.append(len(items))
        out.extend(items)
    return out
