"""What is decided anew, held against what stands in the topics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.chassis.avro import Codec
from services.chassis.errors import Fatal
from services.chassis.kafka.reader import Place
from services.chassis.kafka.spool import Spool
from services.chassis.kafka.streams import Sent, Streams
from services.chassis.records import Entry, Output, Record
from services.chassis.redis.claim import Claim
from services.chassis.registry import Registry
from services.identity.handler import CHANGES, RESOLVED
from services.identity.rebuild.older import Older
from services.identity.rebuild.requests import Told
from services.identity.rebuild.survey import DEAD


@dataclass(slots=True)
class Rebuilt:
    """What was done. gone: outputs that retention has taken; unsent: outputs that wait in the outbox."""

    touchpoints: int = 0
    from_clickhouse: int = 0
    compared: int = 0
    gone: int = 0
    unsent: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """Where everything comes from: topics from their oldest records, and what is older (None: nothing is)."""

    inputs: Streams
    outputs: Streams
    firsts: Mapping[Place, int]
    worked: Mapping[int, int]
    older: Older | None = None


class Outputs:
    """Of one run. `spool` takes what was sent to profile and retention has taken."""

    def __init__(self, sources: Sources, registry: Registry, spool: Spool, done: Rebuilt) -> None:
        self._sources, self._spool, self.done = sources, spool, done
        self._sent, self._change = Sent(sources.outputs), Codec("identity_change", registry)

    def compare(
        self, claim: Claim, entry: Entry, log_ms: Mapping[int, int], told: Mapping[tuple[int, int], Told]
    ) -> None:
        """Hold what was decided against what was sent; acknowledged is what stands there, and all before it."""
        partition, unsent = claim.slot.partition, self.done.unsent
        is_old = claim.position <= self._sources.worked.get(partition, 0)
        for output in entry.outputs:
            number = claim.number(output)
            if output.topic == DEAD and self._sources.older is not None:
                continue  # what was unreadable before retention is in no table, so these cannot be counted
            place = output.topic, output.partition
            sent = self._sent.at(place, str(partition), int(number.partition(b":")[2]))
            if sent is not None:
                if not _same(output, sent):
                    raise Fatal(self._difference(output, number, sent))
                self.done.compared += 1
            elif self._sources.firsts[place] > 0 and (is_old or self._sent.is_past(place, str(partition))):
                self._gone(partition, output, log_ms, told)
            elif self._sent.is_past(place, str(partition)):
                raise Fatal(
                    f"{output.topic} partition {output.partition} does not hold {number.decode()}, but later ones"
                )
            else:
                self.done.unsent += 1
        if self.done.unsent == unsent and claim.acknowledged == len(claim.stored) - 1:
            claim.acknowledge()

    def _difference(self, output: Output, number: bytes, sent: Record) -> str:
        shown = {name: value.decode(errors="replace") for name, value in output.headers if name not in _SINCE}
        there = {name: value.decode(errors="replace") for name, value in sent.headers.items() if name != "batch"}
        if output.topic == CHANGES:
            here, stood = self._change.decode(output.value), self._change.decode(sent.value)
            shown |= {name: str(here[name])[:200] for name in here if here[name] != stood[name]}
            there |= {name: str(stood[name])[:200] for name in here if here[name] != stood[name]}
        return (
            f"{output.topic} partition {output.partition} offset {sent.offset} holds {there} of {sent.key.decode()};"
            f" the rebuilt graph decides {shown} of {output.key.decode()} as {number.decode()}"
        )

    def _gone(
        self, partition: int, output: Output, log_ms: Mapping[int, int], known: Mapping[tuple[int, int], Told]
    ) -> None:
        """Something that was sent and that retention has taken: ClickHouse says what it was."""
        self.done.gone += 1
        if output.topic != RESOLVED:
            return
        headers = dict(output.headers)
        offset = int(headers["src"].split(b".")[2])
        told = known.get((partition, offset))
        if told is not None and told.n and headers["kind"] == b"event":
            here = output.key.decode(), int(headers["n"])
            if here != (told.customer, told.n):
                raise Fatal(
                    f"events_raw says that touchpoint {partition}.{offset} is {(told.customer, told.n)}; the rebuilt"
                    f" graph decides {here}"
                )
        self._spool.append(
            Record(RESOLVED, output.partition, -1, output.key, output.value, headers, log_ms.get(offset, 0))
        )


# Headers that older releases did not write.
_SINCE = frozenset({"batch", "moved"})


def _same(output: Output, sent: Record) -> bool:
    if output.topic == DEAD:
        return sent.key == output.key  # when it failed, and under which release, is not decided here
    headers: dict[str, Any] = {name: value for name, value in output.headers if name not in _SINCE}
    return (
        sent.key == output.key
        and sent.value == output.value
        and all(sent.headers.get(name) == value for name, value in headers.items())
    )
