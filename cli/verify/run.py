"""The order of a verification: the cut, every topic once, ClickHouse, Redis, a second look at what was in doubt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cli.verify.arrival import Arrival
from cli.verify.customer_logs import CustomerLogs, GraphChanges
from cli.verify.customers import CustomersHop
from cli.verify.cut import RESOLVED, TOUCHPOINTS, take_cut
from cli.verify.facts import FactsHop
from cli.verify.leftovers import Leftovers, channels_check, dead_check
from cli.verify.model import Check
from cli.verify.tables import TablesHop
from cli.verify.topics import Topics
from cli.verify.touchpoints import Judge, Outcomes, Places, TouchpointsHop
from cli.verify.triggers import TriggersHop
from services.chassis.avro import Codec
from services.chassis.clickhouse import Clickhouse
from services.chassis.redis.client import RedisClient
from services.chassis.registry import Registry
from services.chassis.settings import SharedSettings
from services.identity.adapters import current_homes
from services.identity.core.policy import Policy
from services.profile.core.config import ProfileConfig

_PLACES = """
SELECT source, event_id, place_partition, place_offset FROM events_raw WHERE event_id IN {ids:Array(String)}
"""
# What is read, how many more of it, of how many.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that is looked at. `encode`: kind:value → 17 bytes of the graph."""

    settings: SharedSettings
    client: RedisClient
    house: Clickhouse
    registry: Registry
    policy: Policy
    encode: Callable[[str], bytes]
    config: ProfileConfig
    patience_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """All lines, and from where on logs were looked at whose beginning retention has taken."""

    checks: Sequence[Check]
    begins: Sequence[str]
    records: int

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not any(check.differences for check in self.checks)


def verify(sources: Sources, progress: Progress) -> Report:
    """One verification. Raises RedisError, Retriable, Fatal when something cannot be looked at."""
    s = sources
    bootstrap = s.settings.kafka_bootstrap
    cut = take_cut(bootstrap, s.client, s.patience_s)
    total = cut.records()
    arrival = Arrival(bootstrap, s.client, s.patience_s, {one.slot.ledger for one in cut.stuck})
    topics = Topics(bootstrap, cut, s.registry, lambda step: progress("topics", step, total))
    outcomes, logs, graph = Outcomes(cut), CustomerLogs(), GraphChanges(cut)
    facts = FactsHop(cut, outcomes, Codec("profile_change", s.registry).decode)
    rows = TablesHop(cut, s.house, topics.is_not_archived)
    triggers = TriggersHop(cut, outcomes, s.house, s.client, Codec("trigger", s.registry).decode)
    customers = CustomersHop(s.client, s.house, s.config, len(cut.partitions(RESOLVED)))
    touchpoints = TouchpointsHop(cut, outcomes, _judge(s))
    left = Leftovers(cut, s.client)

    left.collect()
    topics.read_dead_letters(outcomes, facts)
    topics.read_customers(outcomes, logs, facts, rows, customers.numbers)
    topics.read_graph_changes(graph, rows)
    topics.read_triggers(triggers, rows)
    for partition in cut.partitions(TOUCHPOINTS):
        touchpoints.read(partition, topics.log.raw(TOUCHPOINTS, partition))
    compared = topics.compare(rows)
    triggers.match()
    customers.walk(lambda step: progress("customers", step, 0))

    has_arrived = arrival.wait()
    left.settle(arrival.wait, arrival.now)
    customers.settle(arrival.wait)
    touchpoints.settle(has_arrived)
    triggers.settle(has_arrived)
    return Report(
        [
            touchpoints.check(), logs.check(), graph.check(), facts.check(), *triggers.check(topics.deliveries),
            channels_check(cut, topics.log), dead_check(cut, topics.dead_counts), *compared, *customers.check(),
            left.check(),
        ],
        cut.begins(), total,
    )  # fmt: skip


def _judge(sources: Sources) -> Judge:
    decode = Codec("touchpoint", sources.registry).decode
    return Judge(
        sources.policy, sources.encode, decode, partial(_elsewhere, sources.house), partial(_erased, sources.client)
    )


def _elsewhere(house: Clickhouse, event_ids: Sequence[str]) -> Places:
    found: Places = {}
    for source, event_id, partition, offset in house.stream_rows(_PLACES, {"ids": list(dict.fromkeys(event_ids))}):
        found.setdefault((str(source), str(event_id)), set()).add((int(partition), int(offset)))
    return found


def _erased(client: RedisClient, nodes: Sequence[bytes]) -> list[bool]:
    return [home is not None and not home.customer for home in current_homes(client, nodes)]
