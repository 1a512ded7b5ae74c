"""The stages of a rebuild, in order: identity, profile, rules, notify, archive; each with the service's own code."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from cli.rebuild.checks import Log
from services.chassis.avro import Codec
from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.clock import now_ms
from services.chassis.health import Health
from services.chassis.kafka.spool import Spool
from services.chassis.kafka.streams import Streams, places
from services.chassis.redis.client import durable_client
from services.chassis.redis.inspect import registered
from services.chassis.redis.ledger import Ledger
from services.chassis.registry import Registry, open_registry
from services.chassis.settings import SharedSettings, load_settings
from services.identity.adapters import load_policy
from services.identity.rebuild import older as identity_older
from services.identity.rebuild import replay
from services.identity.rebuild import survey as identity
from services.identity.rebuild.outputs import Sources
from services.identity.settings import IdentitySettings
from services.notify import rebuild as notify
from services.notify.adapters.destinations import load_destinations
from services.notify.adapters.store import DAY_MS
from services.notify.adapters.template_files import load_templates
from services.notify.handler.intake import Planner
from services.notify.settings import NotifySettings
from services.profile.adapters import load_config
from services.profile.archive import rebuild as archive
from services.profile.core.calendar import Calendar
from services.profile.core.state import Thresholds, encode
from services.profile.rebuild import known as snapshots
from services.profile.rebuild import older as profile_older
from services.profile.rebuild import replay as profile
from services.profile.rebuild.input import TOPIC as RESOLVED
from services.profile.rebuild.past import Past, RebuildWithPast
from services.profile.settings import ProfileSettings
from services.profile.thresholds import KEY, from_json
from services.rules.adapters import RulesFolder, Wire
from services.rules.rebuild import replay as rules
from services.rules.rebuild.recorded import Older as OlderTriggers
from services.rules.settings import RulesSettings

Advance = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Target:
    """Everything that the stages share."""

    settings: SharedSettings
    ledger: Ledger
    clickhouse: Clickhouse
    registry: Registry
    log: Log

    def streams(self, *topics: str) -> Streams:
        """All partitions of these topics, from the oldest record on."""
        starts = {place: self.log.firsts[place] for place in places(topics, self.log.partitions)}
        return Streams(self.settings.kafka_bootstrap, starts)


@contextmanager
def open_target(log: Log) -> Iterator[Target]:
    """With connections of its own, closed in the end: a rebuild that follows must not take them for a service's."""
    settings = load_settings(SharedSettings)
    with durable_client(settings.redis_url, settings.relaxed_durability) as client:
        yield Target(settings, Ledger(client), connect(settings), open_registry(settings.schema_registry_url), log)


@dataclass(frozen=True, slots=True)
class Stage:
    """A service; `topics`: whose records are counted."""

    name: str
    topics: tuple[str, ...]


STAGES = (
    Stage("identity", ("touchpoints",)),
    Stage("profile", ("profile.changes",)),
    Stage("rules", ("profile.changes",)),
    Stage("notify", ("deliveries", "triggers")),
    Stage("archive", ()),
)
LONGEST_FIRST = ("profile", "identity", "rules", "notify", "archive")


class Stages:
    """The stages of one rebuild; where retention has taken something, later ones need what earlier ones found."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._resolved, self._changes = Spool(), Spool()
        self._runs: dict[str, Callable[[Target, Advance], object]] = {
            "identity": self._identity, "profile": self._profile, "rules": self._rules, "notify": self._notify,
            "archive": self._archive,
        }  # fmt: skip

    def run(self, stage: Stage, advance: Advance) -> object:
        """What it has done; `advance` is told how many records it has worked."""
        return self._runs[stage.name](self.target, advance)

    def _identity(self, target: Target, advance: Advance) -> object:
        settings, log = load_settings(IdentitySettings), target.log
        found = identity.survey(settings.kafka_bootstrap, log.partitions, log.firsts, target.registry)
        is_whole = log.is_whole("touchpoints", "touchpoints.resolved", "identity.changes")
        another = connect(settings)
        older = None if is_whole else identity_older.Older(target.clickhouse, another, log.oldest("touchpoints"))
        with target.streams("touchpoints") as inputs, target.streams(*identity.OUTPUTS) as outputs:
            sources = Sources(inputs, outputs, log.firsts, log.worked_by("identity", "touchpoints"), older)
            return replay.Rebuild(
                target.ledger, load_policy(settings.policy), settings.identifier_key_bytes(), log.partitions,
                target.registry, found, sources, self._resolved, advance,
            ).run()  # fmt: skip

    def _profile(self, target: Target, advance: Advance) -> object:
        settings, log = load_settings(ProfileSettings), target.log
        config = load_config(settings.config, settings.tags, settings.time_zone)
        versions = _thresholds(target)
        known = snapshots.look(settings.kafka_bootstrap, log.partitions, log.firsts, target.registry)
        numbers, has_past = _sent_by(target), bool(self._resolved.records) or not log.is_whole("profile.changes")
        with target.streams(RESOLVED) as inputs, target.streams("profile.changes") as changes:
            rebuild = (RebuildWithPast if has_past else profile.Rebuild)(
                target.ledger, config, log.partitions, target.registry, log.generation, versions, known, inputs,
                changes, log.firsts, log.worked_by("profile", RESOLVED), advance,
                lambda source, partition: numbers(RESOLVED, partition, str(source)),
            )  # fmt: skip
            if isinstance(rebuild, RebuildWithPast):
                rebuild.past = self._past(target, config.calendar)
            done = rebuild.run()
        self._resolved.close()
        if versions:
            target.ledger.client.set(KEY, encode(versions[max(versions)]))
        return done

    def _past(self, target: Target, calendar: Calendar) -> Past:
        oldest = target.log.oldest("profile.changes")
        with target.streams("profile.changes") as changes:
            marks = {p: profile_older.retained(changes, p) for p in range(target.log.partitions)}
        return Past(
            profile_older.Older(target.clickhouse, oldest, calendar, self._resolved), marks, self._changes.append
        )

    def _rules(self, target: Target, advance: Advance) -> object:
        settings, log = load_settings(RulesSettings), target.log
        now = RulesFolder(settings.folder, ZoneInfo(settings.time_zone), Health()).current
        older, numbers = None, _sent_by(target)
        if not log.is_whole("profile.changes", "triggers"):
            older = OlderTriggers(target.clickhouse, self._changes, lambda p: numbers(rules.TOPIC, p, str(p)))
        with target.streams(rules.TOPIC) as inputs, target.streams(*rules.OUTPUTS) as outputs:
            return rules.Rebuild(
                target.ledger, Wire(settings.schema_registry_url, log.partitions), now, log.generation, inputs,
                outputs, log.firsts, log.worked_by("rules", rules.TOPIC), now_ms(), advance, older,
            ).run()  # fmt: skip

    def _notify(self, target: Target, advance: Advance) -> object:
        settings, log = load_settings(NotifySettings), target.log

        def planner(clock: Callable[[], int]) -> Planner:
            destinations = load_destinations(settings.destinations, os.environ)
            return Planner(
                Codec("trigger", target.registry).decode, Codec("delivery", target.registry).encode,
                destinations.routes(settings.time_zone), load_templates(settings.templates, destinations.language),
                log.partitions, clock, target.registry,
            )  # fmt: skip

        older, numbers = None, _sent_by(target)
        if not log.is_whole(notify.TRIGGERS, notify.DELIVERIES):
            older = notify.Older(
                target.clickhouse, log.oldest(notify.DELIVERIES), lambda p: numbers(notify.TRIGGERS, p, str(p))
            )
        with target.streams(notify.TRIGGERS, notify.DELIVERIES) as inputs:
            return notify.Rebuild(
                target.ledger.client, log.partitions, target.registry, inputs, log.worked_by("notify", notify.TRIGGERS),
                int(settings.remember_days * DAY_MS), planner, advance, older,
            ).run()  # fmt: skip

    def _archive(self, target: Target, advance: Advance) -> object:
        log = target.log
        worked = {place: at for (name, place), at in log.worked.items() if name == "archive"}
        return archive.Rebuild(
            target.ledger, target.clickhouse, target.settings.kafka_bootstrap, log.partitions, target.registry,
            log.generation, archive.Ends(log.firsts, log.ends, worked), _sent_by(target), advance,
        ).run()  # fmt: skip


def _thresholds(target: Target) -> dict[int, Thresholds]:
    rows = target.clickhouse.query_rows("SELECT version, thresholds FROM rfm_thresholds FINAL")
    return {int(row["version"]): from_json(row["thresholds"]) for row in rows}


def _sent_by(target: Target) -> Callable[[str, int, str], int]:
    """The last number that a rebuilt ledger has for a destination, whoever writes there."""
    base: dict[tuple[str, str], Any] = {}
    for slot, topic in registered(target.ledger.client):
        raw = target.ledger.client.hget(slot.ledger, "blob")
        if raw and not slot.service.startswith("archive."):
            base[slot.service, str(slot.partition)] = topic, raw

    def sent(topic: str, partition: int, source: str) -> int:
        from services.chassis.redis.amend import Stand
        from services.chassis.redis.slots import Slot

        found = 0
        for (service, of), (read, raw) in base.items():
            if of == source:
                channels = Stand(Slot(service, int(of)), read, 0, raw).channels
                found = max(found, channels.base.get(f"{topic}/{partition}", 0))
        return found

    return sent
