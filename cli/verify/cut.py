"""One moment of the whole system: positions first, all of one moment; then only what lies below them is compared.

What was decided before that moment and not yet sent is waited for, so that everything below the positions is in the
topics when their ends are taken; ends of topics further down are taken first, so that causes are there for all effects.
"""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cli.verify.numbers import Beginning
from services.chassis.errors import Retriable
from services.chassis.kafka.offsets import end_offsets, first_offsets, group_offsets
from services.chassis.redis.client import RedisClient
from services.chassis.redis.inspect import Standing, is_unsent, standings
from services.identity.adapters import TAG as GRAPH_TAG
from services.notify.adapters.store import TAG as NOTIFY_TAG

POLL_S = 0.2
NOTIFY_GROUP = "touchstream-notify"
RESOLVED, FACTS, IDENTITY_CHANGES = "touchpoints.resolved", "profile.changes", "identity.changes"
TOUCHPOINTS, TRIGGERS, DELIVERIES = "touchpoints", "triggers", "deliveries"
DEAD = tuple(f"{service}.dead" for service in ("identity", "profile", "rules", "notify", "archive"))
# Effects before causes.
LAYERS = (
    (DELIVERIES, TRIGGERS, FACTS, *DEAD),
    (RESOLVED, IDENTITY_CHANGES),
    (TOUCHPOINTS,),
)
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Cut:
    """Positions and ends. graph_changes: the last number g that the graph had given out."""

    standings: Sequence[Standing]
    graph_changes: int
    firsts: Mapping[Place, int]
    ends: Mapping[Place, int]
    notified: Mapping[int, int]  # partition of triggers → next offset whose intents notify has not recorded
    relayed: Mapping[int, int]  # partition of deliveries → number that notify's relay had sent for sure
    stuck: Sequence[Standing]

    def of(self, service: str, topic: str) -> dict[int, Standing]:
        """The ledgers of a service for a topic, by partition."""
        return {one.slot.partition: one for one in self.standings if (one.slot.service, one.topic) == (service, topic)}

    def of_service(self, service: str) -> list[Standing]:
        """All ledgers of a service."""
        return [one for one in self.standings if one.slot.service.split(".", 1)[0] == service]

    def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic."""
        return sorted(partition for name, partition in self.ends if name == topic)

    def is_whole(self, topic: str, partition: int) -> bool:
        """Whether the log still has its beginning."""
        return self.firsts.get((topic, partition), 0) == 0

    def beginning(self, topic: str, partition: int) -> Beginning:
        """What the log of a partition that identity writes begins with."""
        if not self.is_whole(topic, partition):
            return Beginning.CUT
        moved = any(one.generation > 1 for one in self.of("identity", TOUCHPOINTS).values())
        return Beginning.MOVED if moved else Beginning.ALL

    def begins(self) -> list[str]:
        """From where on each log was looked at whose beginning retention has taken."""
        return [
            f"{topic}/{partition}: from offset {first:,} on, what was before is no longer in the log"
            for (topic, partition), first in sorted(self.firsts.items())
            if first > 0
        ]

    def records(self) -> int:
        """How many records there are to read."""
        return sum(max(0, end - self.firsts.get(place, 0)) for place, end in self.ends.items())


def assert_reachable(bootstrap: str) -> None:
    """Raises Retriable when no broker listens there: the Kafka client alone would fill the terminal with complaints."""
    problem = ""
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=2.0).close()
        except (OSError, ValueError) as error:
            problem = f"{address}: {error}"
        else:
            return
    raise Retriable(f"Kafka at {bootstrap} does not answer ({problem})")


def take_cut(bootstrap: str, client: RedisClient, patience_s: float) -> Cut:
    """See the module; blocks up to patience_s for what is on its way. Raises redis.RedisError, Retriable, Fatal."""
    firsts = first_offsets(bootstrap, [name for layer in LAYERS for name in layer])
    partitions = [partition for name, partition in firsts if name == DELIVERIES]
    found, graph_changes = standings(client, f"{GRAPH_TAG}:counters", "g")
    relayed = _relayed(client, partitions)
    stuck = unsent_after(client, found, patience_s)
    notified = group_offsets(bootstrap, NOTIFY_GROUP, [TRIGGERS])
    ends: dict[Place, int] = {}
    for layer in LAYERS:
        ends |= end_offsets(bootstrap, layer)
    by_partition = {partition: offset for (_, partition), offset in notified.items()}
    return Cut(found, graph_changes, firsts, ends, by_partition, relayed, stuck)


def _relayed(client: RedisClient, partitions: Sequence[int]) -> dict[int, int]:
    pipe = client.pipeline(transaction=True)
    for partition in partitions:
        pipe.get(f"{NOTIFY_TAG}:outn:{partition}")
        pipe.llen(f"{NOTIFY_TAG}:out:{partition}")
    answers = pipe.execute()
    return {p: int(answers[2 * i] or 0) - int(answers[2 * i + 1]) for i, p in enumerate(partitions)}


def unsent_after(client: RedisClient, before: Sequence[Standing], patience_s: float) -> list[Standing]:
    """Ledgers whose outputs of that moment are still not known to be sent after patience_s."""
    left = [one for one in before if one.last_entry]

    def is_done() -> bool:
        left[:] = [one for one in left if is_unsent(client, one)]
        return not left

    wait_until(is_done, patience_s)
    return left


def wait_until(is_done: Callable[[], bool], patience_s: float) -> bool:
    """Ask again and again; False when it was not so in time."""
    deadline = time.monotonic() + patience_s
    while not is_done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
