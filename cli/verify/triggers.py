"""Hops 6 and 7: triggers are there once, come from events that happened, and every one has its deliveries.

A delivery that has no row yet must be known to notify: queued, under way, or ended and not yet in the topic.
"""

import json
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from cli.verify.cut import DELIVERIES, TRIGGERS, Cut
from cli.verify.model import Check, Names, differences
from cli.verify.touchpoints import Outcomes
from services.chassis.clickhouse import Clickhouse
from services.chassis.ids import stable_id
from services.chassis.records import Record
from services.chassis.redis.client import RedisClient
from services.notify.adapters.store import TAG

CHUNK = 1_000
REPEATED = "one trigger fired twice, somebody may have got two messages: keep rules' Redis as it is and report it"
GROUNDLESS = "no touchpoint of that place became an event: who else writes to triggers?"
UNSENT = (
    "notify has passed these triggers and does not know their deliveries: its Redis was emptied or restored. Who should"
    " have got what is in triggers_raw; sending is a person's decision (services/notify/README.md)"
)
UNRECORDED = (
    "they were sent (or given up) and no outcome of theirs is in deliveries_raw: see the rows of deliveries_raw above;"
    " otherwise notify's outbox in Redis was changed by hand"
)
MOST_DOUBTED = 100_000
# States of a delivery in notify's Redis before it ends.
WAITING = (b"q", b"s")
_THERE = "SELECT DISTINCT delivery_id FROM deliveries_raw WHERE delivery_id IN {ids:Array(String)}"
_UNFINISHED = """
SELECT t.trigger_id AS trigger_id, t.p AS p, t.o AS o, t.wanted AS wanted, ifNull(d.there, []) AS there FROM
(
    SELECT trigger_id, any(log_partition) AS p, any(log_offset) AS o, any(JSONLength(actions)) AS wanted
    FROM triggers_raw WHERE log_at >= fromUnixTimestamp64Milli({since:Int64}) GROUP BY trigger_id
) AS t
LEFT JOIN (SELECT trigger_id, groupUniqArray(delivery_id) AS there FROM deliveries_raw GROUP BY trigger_id) AS d
ON d.trigger_id = t.trigger_id
WHERE length(there) != wanted
"""
_REPEATED = """
SELECT trigger_id, count() AS times FROM
(
    SELECT DISTINCT trigger_id, log_partition, log_offset FROM triggers_raw
    WHERE log_at >= fromUnixTimestamp64Milli({since:Int64})
)
GROUP BY trigger_id HAVING times > 1 ORDER BY trigger_id
"""


class TriggersHop:
    """Reads the topics triggers and deliveries; ClickHouse finds what has no match there."""

    def __init__(
        self, cut: Cut, outcomes: Outcomes, house: Clickhouse, client: RedisClient,
        decode: Callable[[bytes | None], dict[str, Any]],
    ) -> None:  # fmt: skip
        self._cut, self._outcomes, self._house, self._client, self._decode = cut, outcomes, house, client, decode
        self._archived = {p: one.position for p, one in cut.of("archive.triggers", TRIGGERS).items()}
        self._known = all(cut.is_whole("touchpoints.resolved", p) for p in cut.partitions("touchpoints.resolved"))
        self.triggers = self.wanted = self.since_ms = self.unfinished = 0
        self.repeated = Names("triggers that fired more than once", REPEATED)
        self.groundless = Names("triggers whose cause is no event", GROUNDLESS)
        self._ended: dict[str, str] = {}  # delivery id → trigger id, ended by Redis, not yet seen in ClickHouse
        self.unrecorded = Names("deliveries that ended without a record in ClickHouse", UNRECORDED)
        self.unsent = Names("deliveries that neither ended nor wait in notify", UNSENT)

    def see(self, record: Record) -> str:
        """A record of the topic triggers; its trigger id."""
        self.triggers += 1
        self.since_ms = min(record.log_ms, self.since_ms or record.log_ms)
        value = self._decode(record.value)
        self.wanted += len(json.loads(value["actions"]))
        src = record.headers.get("src", b"")
        # A hand-over's place has a fourth part: what decided it may be an operation (unlink), which is no event.
        place = self._outcomes.place_of(src) if src.count(b".") == 2 else None
        if self._known and place is not None and place[0] in self._outcomes.events:
            bits = self._outcomes.events[place[0]]
            if bits.first <= place[1] < bits.end and place[1] not in bits:
                self.groundless.add(
                    f"{value['trigger_id']} of rule {value['rule']}: touchpoints/{place[0]} offset {place[1]}"
                )
        return str(value["trigger_id"])

    def match(self) -> None:
        """Ask ClickHouse for triggers that fired twice, and for those whose deliveries it does not all have."""
        if not self.triggers:
            return
        bound = {"since": self.since_ms}
        for row in self._house.stream_rows(_REPEATED, bound):
            self.repeated.add(f"{row[0]} ({row[1]} times)", int(row[1]) - 1)
        rows = self._house.stream_rows(_UNFINISHED, bound)
        while chunk := list(islice(rows, CHUNK)):
            self._look_up(chunk)

    def _look_up(self, rows: Sequence[tuple[Any, ...]]) -> None:
        absent = [
            (trigger_id, stable_id(trigger_id, str(k)))
            for trigger_id, p, offset, wanted, there in rows
            if offset < self._cut.notified.get(p, 0)
            for k in range(wanted)
            if stable_id(trigger_id, str(k)) not in there
        ]
        pipe = self._client.pipeline(transaction=False)
        for _, delivery_id in absent:
            pipe.hget(f"{TAG}:d:{delivery_id}", "s")
        for (trigger_id, delivery_id), state in zip(absent, pipe.execute(), strict=True):
            if state in WAITING:
                self.unfinished += 1
            elif state is None:
                self.unsent.add(f"delivery {delivery_id} of trigger {trigger_id}")
            elif len(self._ended) < MOST_DOUBTED:
                self._ended[delivery_id] = trigger_id

    def settle(self, has_arrived: bool) -> None:
        """Look again for those that had ended: what had is in ClickHouse when archive has caught up."""
        if not has_arrived:
            self.unfinished += len(self._ended)
            return
        names = iter(self._ended)
        while chunk := list(islice(names, CHUNK)):
            there = {row["delivery_id"] for row in self._house.query_rows(_THERE, {"ids": chunk})}
            for name in chunk:
                if name not in there:
                    self.unrecorded.add(f"delivery {name} of trigger {self._ended[name]}")

    def check(self, deliveries: int) -> list[Check]:
        """The lines of these hops; `deliveries`: records of the topic."""
        ends = sum(max(0, self._cut.ends[TRIGGERS, p] - at) for p, at in self._archived.items())
        behind = sum(
            max(0, self._cut.ends[TRIGGERS, p] - self._cut.notified.get(p, 0)) for p in self._cut.partitions(TRIGGERS)
        )
        return [
            Check(
                "rules → triggers", "triggers, each once, each from an event", self.triggers,
                self.triggers - self.repeated.count - self.groundless.count, ends,
                "", differences([self.repeated, self.groundless]),
            ),
            Check(
                f"triggers → {DELIVERIES}", "one outcome per action", self.wanted,
                self.wanted - self.unsent.count - self.unrecorded.count, behind + self.unfinished,
                f"{deliveries:,} in the topic", differences([self.unsent, self.unrecorded]),
            ),
        ]  # fmt: skip
