"""identity, profile and rules as production wires them, on a Redis and a Kafka in memory, under a seeded scheduler."""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

import structlog

from services.chassis.avro import Codec
from services.chassis.kafka import retention
from services.chassis.kafka.line import LedgerWorker
from services.chassis.kafka.loop import LoopConfig
from services.chassis.records import Record
from services.chassis.redis import ledger as ledger_module
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.registry import open_registry
from services.chassis.testing.fake_kafka import FakeBroker
from services.chassis.testing.fake_ledger import FakeLedger
from services.chassis.testing.interleaving import Interleaving
from services.chassis.testing.lua_server import LuaServer
from services.chassis.testing.quiet_metrics import SilentMetric
from services.chassis.testing.simulation import Service
from services.chassis.topics import load_topics
from services.identity import adapters as identity_adapters
from services.identity import handler as identity_handler
from services.identity import janitor
from services.identity import metrics as identity_metrics
from services.identity.core.policy import Policy, parse_policy
from services.profile import codec as profile_codec
from services.profile import handler as profile_handler
from services.profile import metrics as profile_metrics
from services.profile.core.customer_log import CustomerState
from services.profile.core.state import Thresholds
from services.profile.states import Packer
from services.profile.sweep import Sweep
from services.rules import adapters as rules_adapters
from services.rules import handler as rules_handler
from services.rules import metrics as rules_metrics
from tests.property.identity.graph_lab import KEY, KINDS
from tests.property.identity.graph_lab import policy as guarded
from tests.property.simulator.rule_book import INDEX
from tests.property.simulator.workload import Config
from tests.unit.profile.profile_builders import CONFIG, CUTS

LEDGER: list[type[FakeLedger]] = [FakeLedger]  # what processes use; mutants put another one here
TOUCHPOINTS = "touchpoints"
PURGE_S = 1.0
GUARDED_SIZE = 5  # identifiers a customer may have where everything is guarded
RESOLVE_ARGUMENTS = 11  # of resolve.lua, and of no other script that can be answered by a list
codec = cache(Codec)
STATES = Packer()
registry = cache(open_registry)


class Server(LuaServer):
    """Tells the order in which the graph script decided: (partition, first, next offset) of every batch."""

    def __init__(self, twins: bool) -> None:
        super().__init__(twins)
        self.decided: list[tuple[int, int, int]] = []
        self.watched: Callable[[str, CustomerState], None] | None = None
        self.told: Callable[[list[str], list[bytes], object], None] | None = None

    def saved(self) -> list[dict[str, Any]]:
        return [*super().saved(), {"decided": len(self.decided)}]

    def restore(self, saved: list[dict[str, Any]]) -> None:
        super().restore(saved[:-1])
        del self.decided[saved[-1]["decided"] :]

    def run_script(self, text: str, keys: list[str], arguments: list[bytes]) -> object:
        answer = super().run_script(text, keys, arguments)
        if len(arguments) == RESOLVE_ARGUMENTS and isinstance(answer, list) and answer[0] == b"OK":
            self.decided.append((int(keys[0].rpartition(":")[2]), int(arguments[2]), int(arguments[3])))
        if self.watched is not None and keys and keys[0].startswith("{profile:") and len(keys) == 4:
            prefix = keys[0].partition(":ledger")[0] + ":c:"
            for member in self.zsets.get(keys[3], {}):
                self.watched(member, STATES.decode(self.strings[prefix + member]))
        if self.told is not None:
            self.told(keys, arguments, answer)
        return answer


PolicyKey = tuple[bool, bool, int]


def policy_key(config: Config) -> PolicyKey:
    """What of a configuration decides which policy holds."""
    return config.limits, config.guards, config.window_h


@cache
def policy_of(limits: bool, guards: bool, window_h: int) -> Policy:
    """Kinds without limits and no other guard, unless asked for."""
    if guards:
        return guarded(GUARDED_SIZE, window_h, min(2, window_h))
    kinds = {
        name: {"code": code, "limit": limit if limits else 0, "known": known}
        for name, (code, limit, known) in KINDS.items()
    }
    return parse_policy({"kinds": kinds, "dedup_window_hours": window_h, "dedup_bucket_hours": min(2, window_h)})


@cache
def writer_of(policy_key: PolicyKey, partitions: int) -> identity_handler.Writer:
    return identity_handler.Writer(policy_of(*policy_key), partitions, registry())


@cache
def encoder(policy_key: PolicyKey) -> Callable[[str], bytes]:
    return identity_adapters.Encoder(policy_of(*policy_key), KEY).encode


@cache
def _wire(partitions: int) -> rules_adapters.Wire:
    return rules_adapters.Wire("", partitions)


def identity(config: Config, world: Callable[[], Interleaving]) -> Service:
    """As services/identity/__main__.py."""
    key = policy_key(config)
    policy, writer, encode = policy_of(*key), writer_of(key, config.partitions), encoder(key)
    graphs: WeakKeyDictionary[Ledger, identity_adapters.Graph] = WeakKeyDictionary()

    def graph_of(ledger: Ledger) -> identity_adapters.Graph:
        if ledger not in graphs:
            graphs[ledger] = identity_adapters.Graph(ledger, policy)
        return graphs[ledger]

    def read_back(partition: int, first: int, last: int) -> list[Record]:
        log = world().broker.logs[TOUCHPOINTS, partition][first : last + 1]
        return [Record(r.topic, r.partition, r.offset, r.key, r.value, dict(r.headers), r.log_ms) for r in log]

    def open_worker(claim: Claim, ledger: Ledger) -> identity_handler.IdentityWorker:
        return identity_handler.IdentityWorker(
            claim, ledger, graph_of(ledger), writer, policy, encode, read_back, world().now_ms
        )

    def open_upkeep(ledger: Ledger, broker: FakeBroker) -> Callable[[list[Claim]], None]:
        def ends() -> dict[tuple[str, int], int]:
            return {(TOUCHPOINTS, number): len(broker.logs[TOUCHPOINTS, number]) for number in range(config.partitions)}

        return janitor.Janitor(graph_of(ledger), ledger, ends, config.partitions, PURGE_S).sweep

    loop = LoopConfig("identity", TOUCHPOINTS, shared_slot=True, batch_max=config.batch_most, is_numbered=False)
    return Service(loop, config.partitions, open_worker, open_upkeep)


def profile(config: Config) -> Service:
    """As services/profile/__main__.py, with thresholds that stay as they are."""

    def cuts() -> Thresholds:
        return CUTS

    def open_worker(claim: Claim, ledger: Ledger) -> LedgerWorker:
        handler = profile_handler.ProfileHandler(
            claim.slot, ledger, claim.waits, CONFIG, config.partitions, cuts, 10_000, registry()
        )
        sweep = Sweep(claim.slot, ledger, cuts, handler.refolds).some if config.sweeps else None
        return LedgerWorker(claim, ledger, handler, sweep)

    return Service(
        LoopConfig("profile", identity_handler.RESOLVED, batch_max=config.batch_most), config.partitions, open_worker
    )


def rules(config: Config) -> Service:
    """As services/rules/__main__.py."""

    def open_worker(claim: Claim, ledger: Ledger) -> LedgerWorker:
        wire = _wire(config.partitions)
        handler = rules_handler.RulesHandler(claim.slot, ledger, claim.waits, lambda: INDEX, wire)
        return LedgerWorker(claim, ledger, handler)

    return Service(
        LoopConfig("rules", rules_adapters.CHANGES, batch_max=config.batch_most), config.partitions, open_worker
    )


@contextmanager
def fast() -> Iterator[None]:
    """Nothing is counted for Prometheus or logged; codecs are made once."""
    silent = SilentMetric()
    with ExitStack() as stack:
        for module in (identity_metrics, profile_metrics, rules_metrics):
            for name in vars(module):
                if name.isupper():
                    stack.enter_context(patch.object(module, name, silent))
        for user in (identity_handler, profile_codec, rules_adapters):
            stack.enter_context(patch.object(user, "Codec", codec))
        stack.enter_context(patch.object(rules_adapters, "open_registry", lambda url: registry()))
        for reader in (ledger_module, identity_adapters):
            stack.enter_context(patch.object(reader, "script_text", cache(reader.script_text)))
        stack.enter_context(patch.object(retention, "load_topics", cache(load_topics)))
        # Thousands of short-lived objects a run, and few circles: collecting as often as usual costs a tenth.
        stack.callback(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(50_000, 20, 50)
        mute: Any = structlog.make_filtering_bound_logger(logging.CRITICAL)
        before = structlog.get_config()
        structlog.configure(wrapper_class=mute, cache_logger_on_first_use=False)
        stack.callback(structlog.configure, **before)
        yield
