"""What must not stay: outbox entries that nobody sends, customers that wait, hand-overs that nobody takes.

For moments all of them are as it should be; so what is there is looked at once more when everything has moved on.
"""

from collections.abc import Callable, Sequence

from cli.verify.cut import DEAD, DELIVERIES, FACTS, IDENTITY_CHANGES, RESOLVED, TRIGGERS, Cut
from cli.verify.log import Log
from cli.verify.model import Check, Names, differences
from cli.verify.numbers import LOST, Channel
from services.chassis.redis.client import RedisClient
from services.chassis.redis.inspect import Standing, is_unsent, scan_keys

UNSENT = (
    "decided and not sent: is the service up? Its log says `relay.failed` and why. Once it runs they are sent with the"
    " numbers they had. An entry that stays while the service works was put there by hand: LRANGE shows it, LREM takes"
    " it away"
)
WAITING = (
    "the giver's hand-over has not come: look for a stopped partition (`touchstream status`, the runbooks of"
    " TouchstreamGap and TouchstreamCustomersWait)"
)
UNTAKEN = (
    "parts of a customer that were handed over and never taken: their events count for nobody. `touchstream rebuild`"
    " makes the state anew; keep Redis as it is until you know why"
)
SHORT = "the broker has fewer dead letters than the ledger says were acknowledged"
# Which service writes a topic with the loop's relay.
WRITERS = {
    RESOLVED: "identity", IDENTITY_CHANGES: "identity", "identity.dead": "identity", FACTS: "profile",
    "profile.dead": "profile", TRIGGERS: "rules", "rules.dead": "rules",
}  # fmt: skip
MOST_KEPT = 100_000


def channels_check(cut: Cut, log: Log) -> Check:
    """Numbers of every channel: contiguous in the topic, and as far as the writer's ledger knows them to be sent."""
    for (topic, partition), channel in log.channels.items():
        if topic == DELIVERIES:
            channel.must_reach(str(partition), cut.relayed.get(partition, 0))
        for one in cut.of_service(WRITERS.get(topic, "")):
            channel.must_reach(str(one.slot.partition), one.channels.base.get(f"{topic}/{partition}", 0))
    records = sum(channel.records for channel in log.channels.values())
    repeats = sum(channel.repeats for channel in log.channels.values())
    holes = Names("numbers of the relay missing in a topic", LOST)
    for channel in log.channels.values():
        _add(holes, channel)
    note = f"{len(log.channels)} partitions" + (f", {repeats:,} sent again and dropped" if repeats else "")
    return Check(
        "relay", "numbers of every channel, without a hole", records + holes.count, records, 0, note,
        differences([holes]),
    )  # fmt: skip


def _add(holes: Names, channel: Channel) -> None:
    for name in channel.holes.examples:
        holes.add(name, 0)
    holes.count += channel.holes.count


def dead_check(cut: Cut, counts: dict[str, int]) -> Check:
    """Dead letters in the topics against what the ledgers have sent there; `counts` by topic.

    notify keeps no count of its own, and a topic whose beginning is gone cannot be counted.
    """
    short = Names("dead letters missing in their topic", LOST)
    expected = got = 0
    parts = []
    for topic in DEAD:
        service = topic.removesuffix(".dead")
        sent = sum(
            count
            for one in cut.of_service(service)
            for destination, count in one.channels.base.items()
            if destination.startswith(f"{topic}/")
        )
        there = counts.get(topic, 0)
        parts += [f"{service} {there:,}"] if there else []
        is_judged = service != "notify" and all(cut.is_whole(topic, p) for p in cut.partitions(topic))
        expected, got = expected + (max(sent, there) if is_judged else there), got + there
        if is_judged and there < sent:
            short.add(f"{topic}: {there:,} of {sent:,}; {SHORT}", sent - there)
    return Check("dead letters", "as many as were sent", expected, got, 0, ", ".join(parts), differences([short]))


class Leftovers:
    """Collected at the cut, looked at again at the end."""

    def __init__(self, cut: Cut, client: RedisClient) -> None:
        self._cut, self._client = cut, client
        self._given: list[bytes] = []
        self.unsent = Names("outboxes with entries that are not sent", UNSENT)
        self.waits = Names("customers that wait for a hand-over", WAITING)
        self.untaken = Names("hand-overs that nobody takes", UNTAKEN)
        self.given = self.waiting = 0

    def collect(self) -> None:
        """Every hand-over that lies in Redis now."""
        for service in ("profile", "rules"):
            for keys in scan_keys(self._client, f"{{{service}:*}}:give:*"):
                self._given += keys[: MOST_KEPT - len(self._given)]
        self.given = len(self._given)

    def settle(self, arrive: Callable[[], bool], now: Callable[[], Sequence[Standing]]) -> None:
        """Look again when what was written until now has been worked off; while it is not, nothing here is judged."""
        if not (self._given or self._cut.stuck or any(one.waits for one in self._cut.standings)):
            return
        self._outboxes()
        if not arrive():
            return
        later = {one.slot.ledger: one for one in now()}
        awaited = {key for one in later.values() for key in one.waits.values()}
        for one in self._cut.standings:
            standing = later.get(one.slot.ledger)
            for customer, key in one.waits.items():
                if standing is not None and standing.waits.get(customer) == key:
                    self.waits.add(f"{one.slot.service}: customer {customer} waits for {key}")
        self._hand_overs(awaited)

    def _outboxes(self) -> None:
        for one in self._cut.stuck:
            if is_unsent(self._client, one):
                self.unsent.add(f"{one.slot.outbox}: {self._client.llen(one.slot.outbox)} entries")

    def _hand_overs(self, awaited: set[str]) -> None:
        for at in range(0, len(self._given), 1_000):
            keys = self._given[at : at + 1_000]
            pipe = self._client.pipeline(transaction=False)
            for key in keys:
                pipe.exists(key)
            for key, is_there in zip(keys, pipe.execute(), strict=True):
                if is_there and key.decode() not in awaited:
                    self.untaken.add(key.decode())

    def check(self) -> Check:
        """The line of what is left."""
        outboxes = sum(one.outbox > 0 for one in self._cut.standings)
        waiting = sum(len(one.waits) for one in self._cut.standings)
        wrong = self.unsent.count + self.waits.count + self.untaken.count
        seen = outboxes + waiting + self.given
        return Check(
            "leftovers", "outbox entries, waiting customers, hand-overs", 0, wrong, max(0, seen - wrong), "",
            differences([self.unsent, self.waits, self.untaken]),
        )  # fmt: skip
