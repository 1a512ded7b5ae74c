"""What makes a service come by its seldom failpoints: poison, lost thresholds, changed rules, a suspected partition.

Everything here is something that happens to a deployment; nothing of it may cost an event, and the oracle is asked.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis
from confluent_kafka import KafkaException, Message, Producer

from services.chassis.redis.inspect import registered
from services.chassis.redis.slots import Slot
from services.profile.thresholds import KEY as THRESHOLDS_KEY
from tests.chaos.rig.deployment import Deployment
from tests.chaos.rig.goals import Kind
from tests.chaos.rig.poison import POISON, POISON_TOPIC, Place
from tests.chaos.rig.schema_registry import SchemaRegistry
from tests.chaos.rig.tail import Tail

AGAIN_S = 1.5
LOOK_S = 0.4
# As after so many crashes at one place: the next owner works record by record.
TRIES = 6


@dataclass
class Stuck:
    """The last look at a service's ledgers."""

    at_s: float = 0.0
    answer: bool = False


class Provoke:
    """For all lanes of one deployment. Main thread only."""

    def __init__(self, deployment: Deployment, tail: Tail, client: "redis.Redis") -> None:
        self._deployment, self._tail, self._redis = deployment, tail, client
        self._registry = SchemaRegistry()
        self._producer = Producer({"bootstrap.servers": deployment.cluster.bootstrap, "log_level": 2})
        self._rules = deployment.folder / "config" / "rules" / "order.yaml"
        self._next_s: dict[str, float] = {}
        self._stuck: dict[str, Stuck] = {}
        self.poisoned: list[Place] = []

    def close(self) -> None:
        """Close what it has opened."""
        self._registry.close()

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self._deployment.log(name)

    def environ(self, service: str, kind: Kind | None) -> dict[str, str]:
        """What a life of this kind needs besides its failpoints."""
        return {"TOUCHSTREAM_SCHEMA_REGISTRY_URL": self._registry.url} if kind is Kind.REGISTRY else {}

    def setup(self, kind: Kind, service: str) -> str:
        """The step at which a life has to die first; empty: none has to."""
        return "before_relay" if kind is Kind.RESTORE and not self._has_outbox(service) else ""

    def first(self, kind: Kind, service: str, setup: str) -> str:
        """What is armed besides the goals."""
        if setup:
            return f"{service}.{setup}=kill"
        return {Kind.AGAIN: f"{service}.after_apply=raise", Kind.DISCARD: f"{service}.after_produce=raise"}.get(
            kind, ""
        )

    def before(self, kind: Kind, service: str) -> None:
        """While the process is down."""
        if kind is Kind.SUSPECT:
            for slot, _ in self._slots(service):
                position = cast(bytes | None, self._redis.hget(slot.ledger, "position"))
                if position is not None:
                    self._redis.hset(slot.ledger, mapping={"tries": TRIES, "tries_position": position})

    def meanwhile(self, kind: Kind, service: str, left: set[str], is_ready: bool) -> None:
        """While it lives: what its steps need again and again."""
        now_s = time.monotonic()
        if not is_ready or now_s < self._next_s.get(service, 0.0):
            return
        self._next_s[service] = now_s + AGAIN_S
        needs_dead_letter = service == "archive" and kind in (Kind.DISCARD, Kind.RESTORE, Kind.REGISTRY)
        if kind is Kind.POISON or needs_dead_letter:
            self._poison()
        if (
            left & {"before_shared_replace", "after_shared_replace", "before_clickhouse_insert"}
            and service == "profile"
        ):
            self._redis.delete(THRESHOLDS_KEY)
        if left & {"before_rules_read", "after_rules_read"}:
            self._rules.write_bytes(self._rules.read_bytes())

    def _poison(self) -> None:
        number = len(self.poisoned)

        def noted(error: object, message: Message) -> None:
            if error is None:
                self.poisoned.append((POISON_TOPIC, message.partition() or 0, message.offset() or 0))

        try:
            value = POISON + b"%d" % number
            partition = number % self._deployment.partitions
            self._producer.produce(POISON_TOPIC, value, b"poison", partition, on_delivery=noted)
            self._producer.flush(5.0)
        except KafkaException:
            pass  # tried again

    def is_stuck(self, service: str) -> bool:
        """Whether a partition was claimed repeatedly without getting on, so that another death might cost a record."""
        found = self._stuck.setdefault(service, Stuck())
        if time.monotonic() - found.at_s > LOOK_S:
            found.answer, found.at_s = self._looks_stuck(service), time.monotonic()
        return found.answer

    def _looks_stuck(self, service: str) -> bool:
        slots = self._slots(service)
        pipe = self._redis.pipeline(transaction=False)
        for slot, _ in slots:
            pipe.hgetall(slot.ledger)
        try:
            ends = self._tail.ends()
        except KafkaException:
            return True
        for (slot, topic), meta in zip(slots, pipe.execute(), strict=True):
            position = int(meta.get(b"position", b"0"))
            is_again = int(meta.get(b"tries", b"0")) >= 2 and meta[b"tries_position"] == meta[b"position"]
            if is_again and ends.get((topic, slot.partition), 0) > position:
                return True
            suspects = (
                (name.partition(b":")[2], count) for name, count in meta.items() if name.startswith(b"suspect:")
            )
            if any(int(offset) >= position and int(count) >= 2 for offset, count in suspects):
                return True
        return False

    def _has_outbox(self, service: str) -> bool:
        return any(self._redis.llen(slot.outbox) for slot, _ in self._slots(service))

    def _slots(self, service: str) -> list[tuple[Slot, str]]:
        return [(slot, topic) for slot, topic in registered(self._redis) if slot.service.split(".", 1)[0] == service]
