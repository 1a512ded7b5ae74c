"""A whole deployment in one process: real backends, the services' real loops, worked round by round by the test.

No groups and no processes: what is owned, what is sent and when Redis is lost is the test's to say.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.local.settings import LocalSettings
from services.chassis.avro import Codec
from services.chassis.clickhouse import connect
from services.chassis.clock import now_ms
from services.chassis.errors import Retriable
from services.chassis.health import Health
from services.chassis.ids import node_of, partition_of
from services.chassis.kafka.client import producer as new_producer
from services.chassis.kafka.line import LedgerWorker, Worker
from services.chassis.kafka.loop import Loop, LoopConfig
from services.chassis.kafka.loop_metrics import LoopMetrics
from services.chassis.kafka.offsets import end_offsets, first_offsets, read_on, read_range
from services.chassis.kafka.reader import Reader
from services.chassis.kafka.relay import Relay
from services.chassis.marks import Mark
from services.chassis.records import Output, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.client import async_client, sync_client
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.shared import SharedValue
from services.chassis.registry import open_registry
from services.chassis.run import Stop
from services.identity.adapters import Encoder, Graph, load_policy
from services.identity.handler import IdentityWorker, Writer
from services.identity.policies import Adoption
from services.notify.adapters.destinations import load_destinations
from services.notify.adapters.durable import wait_for_log
from services.notify.channels.sink import SinkStore
from services.notify.handler.intake import Incoming
from services.notify.handler.notifier import Notifier
from services.notify.settings import NotifySettings
from services.notify.wiring import assemble
from services.profile.adapters import load_config
from services.profile.archive.batches import Archiver
from services.profile.archive.decode import open_decoders
from services.profile.archive.handler import Archive, Pace
from services.profile.archive.line import Limits
from services.profile.archive.ownership import Ownership, read_log
from services.profile.handler import ProfileHandler
from services.profile.sweep import Sweep
from services.profile.thresholds import KEY, Refresher
from services.rules.adapters import RulesFolder, Wire
from services.rules.handler import RulesHandler
from tests.integration.redis_dump import dump
from tests.unit.archive.archive_doubles import metrics as archive_metrics

IDENTITY, PROFILE, RULES = "touchpoints", "touchpoints.resolved", "profile.changes"
SETTLE_S = 240.0
T = TypeVar("T")
METRICS = {name: LoopMetrics(name, Health()) for name in ("identity", "profile", "rules")}


class Lab:
    """One deployment. `work` drives it until nothing is left; `lose` empties Redis."""

    def __init__(self, settings: LocalSettings) -> None:
        self.settings, self.partitions = settings, settings.partitions
        self.redis: redis.Redis = sync_client(settings.redis_url)
        self.clickhouse = connect(settings)
        self.registry = open_registry("")
        self.producer = Producer({"bootstrap.servers": settings.kafka_bootstrap, "acks": "all", "linger.ms": 5})
        self.touchpoint = Codec("touchpoint")
        self.loops: dict[str, Loop] = {}
        self.archive: Archive | None = None
        self.sent = 0
        self.known: list[str] = []
        self.has_silent = True
        self.tags, self.policy = "deploy/config/tags.yaml", "deploy/config/identity.yaml"
        self.import_quiet_ms = 60_000

    def start(self, profile: Sequence[int] | None = None) -> None:
        """New owners of everything; `profile`: of these partitions of profile only."""
        bootstrap, partitions = self.settings.kafka_bootstrap, self.partitions
        ledger = Ledger(self.redis)
        policy = load_policy(self.policy)
        writer, graph = Writer(policy, partitions, self.registry), Graph(ledger, policy, is_told=True)
        adoption = Adoption(self.redis, policy)
        encode = Encoder(policy, self.settings.identifier_key_bytes()).encode

        def identity(claim: Claim) -> Worker:
            adoption.adopt()
            read_back = lambda p, first, last: read_range(bootstrap, IDENTITY, p, first, last)  # noqa: E731
            return IdentityWorker(claim, ledger, graph, writer, policy, encode, read_back)

        config = load_config("deploy/config/profile.yaml", self.tags, self.settings.time_zone)
        refresh = Refresher(self.clickhouse, SharedValue(self.redis, KEY), config.calendar, lambda: True, now_ms)
        self.thresholds = _patiently(refresh)

        def profiles(claim: Claim) -> Worker:
            handler = ProfileHandler(
                claim.slot, ledger, claim.waits, config, partitions, lambda: self.thresholds, 10_000, self.registry,
                self.import_quiet_ms,
            )  # fmt: skip
            sweep = Sweep(claim.slot, ledger, lambda: self.thresholds, handler.refolds)
            return LedgerWorker(claim, ledger, handler, sweep.some)

        folder = RulesFolder("deploy/config/rules", ZoneInfo(self.settings.time_zone), Health())
        wire = Wire("", partitions)

        def rules(claim: Claim) -> Worker:
            handler = RulesHandler(claim.slot, ledger, claim.waits, lambda: folder.current, wire)
            return LedgerWorker(claim, ledger, handler)

        every = range(partitions)
        self._open("identity", LoopConfig("identity", IDENTITY, shared_slot=True, is_numbered=False), identity, every)
        self._open("profile", LoopConfig("profile", PROFILE), profiles, every if profile is None else profile)
        self._open("rules", LoopConfig("rules", RULES), rules, every)
        self.archive = self._archive(ledger)

    def _open(
        self, name: str, config: LoopConfig, open_worker: Callable[[Claim], Worker], owned: Iterable[int]
    ) -> None:
        loop = Loop(config, self.settings, Ledger(self.redis), open_worker, METRICS[name])
        loop.owned.on_assign([(config.topic, p) for p in owned])
        self.loops[name] = loop

    def _archive(self, ledger: Ledger) -> Archive:
        bootstrap = self.settings.kafka_bootstrap
        reader = Reader(bootstrap, "touchstream-archive", 6_000, "archive", 60_000, 0.0, 25)
        relay = Relay(lambda: new_producer(bootstrap, "archive"))
        ownership = Ownership(reader, relay, ledger, read_log(self.settings), archive_metrics())
        archiver = Archiver(
            ledger, self.clickhouse, open_decoders(self.registry), self.partitions, Limits(20_000, 16 << 20),
            archive_metrics(), now_ms, self.registry,
        )  # fmt: skip
        ownership._assigned(list(first_offsets(bootstrap, ownership._log.topic_ids)))
        limits, pace = Limits(20_000, 16 << 20), Pace(0.0, 1_000.0, 64 << 20, 1.0)
        return Archive(reader, relay, ownership, archiver, limits, pace, archive_metrics(), lambda: None)

    def work(self, *names: str) -> None:
        """Rounds of these services (default: all, notify too) until they have nothing left to do; then say so."""
        deadline = time.monotonic() + SETTLE_S
        loops = [self.loops[name] for name in names or ("identity", "profile", "rules")]
        quiet = 0
        while quiet < 3 or self._behind(loops):
            assert time.monotonic() < deadline, f"{names} do not come to rest"
            before = self._stand()
            for loop in loops:
                loop.round()
            if not names and self.archive is not None:
                self.archive.round()
            quiet = quiet + 1 if self._stand() == before else 0
        if not names:
            asyncio.run(self._notify())
            self._rest_of_archive(deadline)
        self._say(names)

    def _rest_of_archive(self, deadline: float) -> None:
        assert self.archive is not None
        topics = [topic for topic, _ in self.archive._ownership.lines]
        while any(
            self.archive._ownership.lines[place].claim.position < end
            for place, end in end_offsets(self.settings.kafka_bootstrap, topics).items()
        ):
            assert time.monotonic() < deadline, "archive does not come to rest"
            self.archive.round()

    def _behind(self, loops: Sequence[Loop]) -> bool:
        """Whether the topic of one holds what it has not worked off; a first fetch may take longer than some rounds."""
        ends = end_offsets(self.settings.kafka_bootstrap, [loop.config.topic for loop in loops])
        return any(line.claim.position < ends[place] for loop in loops for place, line in loop.owned.lines.items())

    def _stand(self) -> list[tuple[object, ...]]:
        """Where everybody stands."""
        return [
            (name, place, line.claim.position, line.claim.applied, len(line.claim.waits))
            for name, loop in self.loops.items()
            for place, line in loop.owned.lines.items()
        ]

    def _say(self, names: Sequence[str]) -> None:
        """Trim what is acknowledged, and tell the groups how far everybody is, as every second does."""
        for name, loop in self.loops.items():
            if names and name not in names:
                continue
            for line in loop.owned.lines.values():
                loop.ledger.touch(line.claim)
            self.commit(name, {place: line.claim.mark for place, line in loop.owned.lines.items()})
        if not names and self.archive is not None:
            lines = self.archive._ownership.lines
            self.commit("archive", {place: line.claim.mark for place, line in lines.items()})

    def commit(self, service: str, marks: dict[tuple[str, int], Mark]) -> None:
        """Commit to a service's group, and wait for the answer."""
        group = {"bootstrap.servers": self.settings.kafka_bootstrap, "group.id": f"touchstream-{service}"}
        consumer = Consumer(group)
        offsets = [TopicPartition(*place, mark.position, mark.text) for place, mark in marks.items()]
        consumer.commit(offsets=offsets, asynchronous=False)
        consumer.close()

    def stop(self) -> None:
        """Nobody owns anything any more."""
        for loop in self.loops.values():
            loop.reader.close()
            loop.relay.discard()
        if self.archive is not None:
            self.archive._ownership._reader.close()
        self.loops, self.archive = {}, None
        self.redis.connection_pool.disconnect()

    def rounds_until(self, name: str, is_reached: Callable[[], bool]) -> None:
        """Rounds of one service until this is so."""
        deadline = time.monotonic() + SETTLE_S
        while not is_reached():
            assert time.monotonic() < deadline, f"{name} never gets there"
            self.loops[name].round()

    def cut_relay(self, name: str) -> None:
        """From now on nothing that this service decides is sent."""

        def send(work: object) -> None:
            raise Retriable("cut by the test")

        self.loops[name].relay.send = send  # type: ignore[method-assign]

    def take_in(self) -> None:
        """notify records every trigger there is, and ends before it has sent anything."""
        asyncio.run(self._take_in())

    async def _take_in(self) -> None:
        client, notifier = self._notifier()
        ends, records = self._triggers()
        await notifier.intake.accept([Incoming(record, lambda: None) for record in records])
        await client.aclose()
        self.commit("notify", {place: Mark(end) for place, end in ends.items()})

    def _triggers(self) -> tuple[dict[tuple[str, int], int], list[Record]]:
        """Where `triggers` ends, and all that stands in it."""
        bootstrap = self.settings.kafka_bootstrap
        ends, firsts = end_offsets(bootstrap, ["triggers"]), first_offsets(bootstrap, ["triggers"])
        records = [
            record
            for place, end in ends.items()
            for record in (read_on(bootstrap, *place, firsts[place]) if end > firsts[place] else ())
        ]
        return ends, records

    def _notifier(self) -> tuple[Any, Notifier]:
        wait_for_log(self.settings, Health(), Stop())
        settings, client = NotifySettings(partitions=self.partitions), async_client(self.settings.redis_url)
        destinations, sink = load_destinations(settings.destinations, {}), SinkStore(10_000, now_ms)
        publisher, owned = _Publisher(self.settings.kafka_bootstrap), lambda: range(self.partitions)
        return client, assemble(settings, destinations, client, publisher, owned, sink, Health())

    async def _notify(self) -> None:
        """Take in every trigger there is, deliver to the sink, relay."""
        client, notifier = self._notifier()
        notifier.start()
        ends, records = self._triggers()
        done = 0
        for record in records:

            def acknowledge() -> None:
                nonlocal done
                done += 1

            await notifier.intake.put(Incoming(record, acknowledge))
        deadline = time.monotonic() + SETTLE_S
        while done < len(records) or await self._queued(notifier):
            assert time.monotonic() < deadline, "notify does not come to rest"
            await asyncio.sleep(0.05)
        await notifier.stop(10.0)
        await client.aclose()
        self.commit("notify", {place: Mark(end) for place, end in ends.items()})

    async def _queued(self, notifier: Any) -> bool:
        outbox, depths = await notifier._store.depths(self.partitions)
        return bool(outbox) or any(depth.deliveries for depth in depths.values())

    def dump(self) -> dict[str, Any]:
        """Everything in Redis."""
        return dump(self.redis)

    def lose(self) -> None:
        """Redis is empty."""
        self.redis.flushall()

    def send(
        self, *identifiers: str, kind: str = "track", name: str = "Visited", event_id: str = "", **fields: Any
    ) -> None:
        """One touchpoint."""
        self.sent += 1
        if kind in ("track", "identify"):
            self.known += identifiers
        at_ms = now_ms()
        value = self.touchpoint.encode(
            {
                "event_id": event_id or f"e{self.sent}", "source": "shop", "type": kind, "name": name,
                "identifiers": list(identifiers), "occurred_at": at_ms, "received_at": at_ms, **fields,
            }
        )  # fmt: skip
        self.raw(node_of(identifiers[0], self.settings.identifier_key_bytes()).encode(), value)

    def raw(self, key: bytes, value: bytes) -> None:
        """Any bytes."""
        self.producer.produce("touchpoints", value, key, partition=partition_of(key, self.partitions))

    def story(self, seed: int, length: int, has_silent: bool = True) -> None:
        """Everything that happens to customers; `has_silent`: erasures too of identifiers that nobody knows."""
        self.has_silent = has_silent
        dice = random.Random(seed)
        people = max(20, length // 6)
        for i in range(length):
            user = f"user_id:{dice.randrange(people)}"
            visitor = f"anonymous_id:{dice.randrange(people * 2)}"
            self._happen(dice, f"{seed}-{i}", user, visitor)
        self.producer.flush()

    def _happen(self, dice: random.Random, one: str, user: str, visitor: str) -> None:
        what = dice.random()
        if what < 0.40:
            self.send(user, name=dice.choice(("Product Viewed", "Cart Viewed", "Logged In", "Message Opened")))
        elif what < 0.52:
            self.send(
                user, name="Order Completed", order_id=f"o{one}", amount_minor=dice.randrange(100, 90_000),
                currency="CNY",
            )  # fmt: skip
        elif what < 0.64:
            traits = b'{"email": "%d@example.com"}' % dice.randrange(100)
            self.send(user, visitor, kind="identify", name="Identified", traits=traits)
        elif what < 0.74:
            self.send(visitor)
        elif what < 0.80:  # the same message id under two keys: whichever is first in the order of the graph counts
            self.send(user, event_id=f"twice-{one}")
            self.send(visitor, event_id=f"twice-{one}")
        elif what < 0.83:
            self.send(visitor, kind="unlink", name="Unlink Requested")
        elif what < 0.86:  # one link only, which may be there; or of somebody who may not have it
            asked = dice.choice((b'{"pair": true}', b'{"from": "6f1c2d5e-8a3b-5c7d-9e0f-1a2b3c4d5e6f"}'))
            self.send(visitor, user, kind="unlink", name="Unlink Requested", properties=asked)
        elif what < 0.90:
            whom = (user, visitor) if self.has_silent else self.known or (user,)
            self.send(dice.choice(whom), kind="erase", name="Erase Requested")
        elif what < 0.93 and self.has_silent:  # of somebody whom nobody knows: a tombstone of which nothing is written
            self.send(f"anonymous_id:{dice.randrange(4_000)}", kind="erase", name="Erase Requested")
        elif what < 0.95:
            self.raw(one.encode(), b"no touchpoint")
        elif what < 0.97:  # identity can read it, profile cannot
            self.send(user, traits=b"[1]")
        elif what < 0.99:
            words = b'{"author": "ann", "reason": "case %d: link of two"}' % dice.randrange(100)
            self.send(user, visitor, kind=dice.choice(("link", "refuse")), name="By hand", properties=words)
        else:
            self.send(user, f"anonymous_id:{dice.randrange(4_000)}")


def _patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns, once ClickHouse answers."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            return ask()
        except Retriable:
            assert time.monotonic() < deadline


class _Publisher:
    """Kafka as notify's handler sees it."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})

    async def publish(self, topic: str, partition: int, outputs: Sequence[Output]) -> int:
        """Produce all and wait."""
        for output in outputs:
            self._producer.produce(topic, output.value, output.key, partition=partition, headers=output.headers)
        await asyncio.to_thread(self._producer.flush)
        return len(outputs)
