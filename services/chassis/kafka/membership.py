"""A member that waits for its group: says so, and finds out when waiting is of no use.

librdkafka can lose the group's coordinator for ever (seen with 2.16 after a broker stood still for 7 s: the poll went
on, nobody was asked, for as long as one waited). Only a new client helps, so the process ends and its orchestrator
starts it again.
"""

import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from services.chassis.errors import Retriable
from services.chassis.failpoints import fp

# A member without partitions says so in its health after this; a rebalance usually takes a second or two.
TOLD_AFTER_S = 15.0
# Between two looks at the broker and the coordinator, and how long each may take to answer.
LOOK_S = 10.0
ASK_S = 5.0
# So many looks in a row at which the broker answers and the group's coordinator does not. One may be a coordinator that
# has just moved or loads its log.
SILENT_LOOKS = 3
# Added to two rebalances at their longest before a member that still waits is given up though everybody answers. Lower:
# a restart for nothing while others are slow. Higher: its partitions lie still for longer.
PATIENCE_S = 15.0


class Membership:
    """Whether the group has said what is ours; longest_rebalance_s: how long it may wait for other members.

    ask_broker: raises KafkaException when nobody answers a client of its own. The stuck one hears no broker at all.
    """

    def __init__(
        self, consumer: Consumer, ask_broker: Callable[[float], None], session_s: float, longest_rebalance_s: float
    ) -> None:
        self._consumer, self._ask_broker = consumer, ask_broker
        self._patience_s = 2 * max(session_s, longest_rebalance_s) + session_s + PATIENCE_S
        self._topic = ""
        self._since_s: float | None = None
        self._look_s = 0.0
        self._silent = 0

    def waits(self, topic: str) -> None:
        """The group has been joined, or has taken everything away; topic: one that is read."""
        self._topic = topic
        self._since_s = time.monotonic()
        self._look_s = self._since_s + TOLD_AFTER_S
        self._silent = 0

    def told(self) -> None:
        """The group has said what is ours."""
        self._since_s = None

    def complaint(self) -> str:
        """Why nothing can be read although nothing fails; empty while that may be. Raises Retriable: it never ends."""
        if self._since_s is None or (waited_s := time.monotonic() - self._since_s) <= TOLD_AFTER_S:
            return ""
        if time.monotonic() >= self._look_s:
            self._look(waited_s)
            self._look_s = time.monotonic() + LOOK_S
        return f"no partitions from the group for {waited_s:.0f} s"

    def _look(self, waited_s: float) -> None:
        try:
            fp("before_ask_broker", KafkaException)
            self._ask_broker(ASK_S)
            fp("after_ask_broker", KafkaException)
        except KafkaException:  # it is away: that is what there is to wait for
            self.waits(self._topic)
            return
        try:
            fp("before_ask_coordinator", KafkaException)
            self._consumer.committed([TopicPartition(self._topic, 0)], ASK_S)
            fp("after_ask_coordinator", KafkaException)
            self._silent = 0
        except KafkaException:
            self._silent += 1
        if self._silent >= SILENT_LOOKS or waited_s >= self._patience_s:
            raise Retriable(
                f"the group has assigned nothing for {waited_s:.0f} s although the broker answers: the client has lost"
                " its coordinator. Nothing is lost; a new process joins the group again"
            )
