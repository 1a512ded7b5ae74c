"""A small service for the ledger's tests, and the one machine that says what it must have done.

Records of a member: `put` counts and sends the count to two destinations; `timer` sends something once, later; `give`
leaves a parcel under a key of its own partition; `take` waits for a parcel of any partition and sends it on.
"""

import json
from typing import Any

from services.chassis.ids import partition_of
from services.chassis.kafka.line import LedgerWorker
from services.chassis.kafka.loop import LoopConfig
from services.chassis.records import Decision, Output, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.testing.simulation import Service

PARTITIONS = 2


def service(name: str, topic: str, target: str) -> Service:
    """A tally that reads `topic` and writes `target`."""

    def open_worker(claim: Claim, ledger: Ledger) -> LedgerWorker:
        return LedgerWorker(claim, ledger, Tally(claim, ledger, target))

    return Service(LoopConfig(name, topic, batch_max=5), PARTITIONS, open_worker)


def value(*operation: object) -> bytes:
    """A record's value: ["put", text], ["timer", delay_ms], ["give", token], ["take", token, giver's partition]."""
    return json.dumps(operation).encode()


def destinations(member: str, text: str) -> list[int]:
    """Partitions that a count is sent to: one, sometimes two records to the same or to both."""
    first = partition_of(f"{member}{text}".encode(), PARTITIONS)
    return [first, *([partition_of(text.encode(), PARTITIONS)] if len(text) % 2 else [])]


class Tally:
    """A PartitionHandler. Caches its states, as real handlers do."""

    def __init__(self, claim: Claim, ledger: Ledger, target: str) -> None:
        self._slot, self._waits, self._ledger, self._target = claim.slot, claim.waits, ledger, target
        self._cache: dict[str, int] = {}

    def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
        """See PartitionHandler."""
        operations = [(record.key.decode(), json.loads(record.value or b"[]")) for record in records]
        parcels = self._parcels(operations)
        self._load([member for member, _ in operations])
        decision = Decision()
        for member in ticks:
            decision.due[member] = None
            self._send(decision, member, f"tick {member} at {now_ms}", 0)
        for member, operation in operations:
            self._work(decision, parcels, member, operation, now_ms)
        for member, key in self._waits.items():
            if key in parcels and member not in decision.waits:
                self._take(decision, parcels, member, key)
        return decision if records or ticks or decision.waits else None

    def _parcels(self, operations: list[tuple[str, Any]]) -> dict[str, bytes]:
        keys = [parcel_key(self._slot.service, op[2], op[1]) for _, op in operations if op[0] == "take"]
        keys += self._waits.values()
        return {key: found for key in keys for found in self._ledger.get_many([key]) if found is not None}

    def _load(self, members: list[str]) -> None:
        missing = [member for member in dict.fromkeys(members) if member not in self._cache]
        for member, found in zip(
            missing, self._ledger.get_many([self._slot.key("c", m) for m in missing]), strict=True
        ):
            self._cache[member] = int(found or b"0")

    def _work(self, decision: Decision, parcels: dict[str, bytes], member: str, op: Any, now_ms: int) -> None:
        if op[0] == "put":
            self._cache[member] += 1
            decision.sets[self._slot.key("c", member)] = b"%d" % self._cache[member]
            for partition in destinations(member, op[1]):
                self._send(decision, member, f"{member} {self._cache[member]} {op[1]}", partition)
        elif op[0] == "timer":
            decision.due[member] = now_ms + op[1]
        elif op[0] == "give":
            key = parcel_key(self._slot.service, self._slot.partition, op[1])
            decision.sets[key] = parcels[key] = f"parcel {op[1]}".encode()
        else:
            self._take(decision, parcels, member, parcel_key(self._slot.service, op[2], op[1]))

    def _take(self, decision: Decision, parcels: dict[str, bytes], member: str, key: str) -> None:
        if key not in parcels:
            decision.waits[member] = key
            return
        decision.waits[member] = None
        decision.late_deletes.append(key)
        self._send(decision, member, f"took {parcels[key].decode()}", 1)

    def _send(self, decision: Decision, member: str, text: str, partition: int) -> None:
        decision.outputs.append(Output(self._target, partition, member.encode(), value("put", text)))


def parcel_key(service_name: str, partition: int, token: str) -> str:
    """Where the giver leaves it."""
    return Slot(service_name, partition).key("give", token)


def counts(records: list[tuple[str, str]]) -> tuple[dict[str, int], list[tuple[int, str, str]]]:
    """One machine: (member, text) puts in order → (member → count, [(destination, member, text)] in order)."""
    found: dict[str, int] = {}
    sent = []
    for member, text in records:
        found[member] = found.get(member, 0) + 1
        sent += [(partition, member, f"{member} {found[member]} {text}") for partition in destinations(member, text)]
    return found, sent
