"""The promises of a Kafka broker that matter here, who relies on them, and what a broker makes of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from confluent_kafka import KafkaException

from services.chassis.kafka.trust import positions, records
from services.chassis.kafka.trust.probe import BrokenError, Probe, shown


class Need(Enum):
    """Who breaks without it. LASTING: who must not lose data; a stack that may (relaxed durability) does without."""

    ALWAYS = "the services"
    LASTING = "data that must last"
    NOBODY = "nobody here"


@dataclass(frozen=True, slots=True)
class Promise:
    """`kills`: the trial needs a broker that may be killed."""

    name: str
    text: str
    need: Need
    trial: Callable[[Probe], None]
    kills: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """`is_kept`: None when it was not tried. `why`: what the broker did instead."""

    promise: Promise
    is_kept: bool | None
    why: str = ""


PROMISES = (
    Promise("as-sent", "records come back as sent: headers, empty ones, tombstones", Need.ALWAYS, records.as_sent),
    Promise("two-writers", "a reader misses nothing while two producers write", Need.LASTING, records.two_writers),
    Promise("repeated", "a batch that is sent again is stored once", Need.LASTING, records.repeated),
    Promise("gap-refused", "a batch whose predecessor is missing is refused", Need.LASTING, records.gap_refused),
    Promise("too-large", "a record that is too large is refused, and nothing else", Need.ALWAYS, records.too_large),
    Promise("stamps", "LogAppendTime: records carry the broker's time", Need.LASTING, records.stamps),
    Promise("aborted", "aborted transactions are not seen by read_committed", Need.NOBODY, records.aborted),
    Promise("compaction", "a topic may be compacted", Need.ALWAYS, records.compaction),
    Promise("ends", "ListOffsets names the end of a log", Need.NOBODY, positions.ends),
    Promise("beyond", "a position behind the end is an error", Need.ALWAYS, positions.beyond),
    Promise("deleted", "a position that retention took is an error", Need.LASTING, positions.deleted),
    Promise("identity", "cluster and topic ids stay", Need.ALWAYS, positions.identity),
    Promise("commits", "a group's commits are kept", Need.ALWAYS, positions.commits),
    Promise("outsider", "only members commit for a group", Need.NOBODY, positions.outsider),
    Promise("records-survive", "acknowledged records survive kill -9", Need.LASTING, positions.records_survive, True),
    Promise("commits-survive", "a group's commits survive kill -9", Need.LASTING, positions.commits_survive, True),
)


def judge(probe: Probe, promises: Iterable[Promise] = PROMISES) -> Iterator[Verdict]:
    """Try one promise after the other. Takes up to a minute each on a broker that keeps none."""
    for promise in promises:
        if promise.kills and probe.kill_and_start is None:
            yield Verdict(promise, None, "needs a broker that may be killed")
            continue
        try:
            promise.trial(probe)
        except BrokenError as error:
            yield Verdict(promise, False, str(error))
        except KafkaException as error:
            yield Verdict(promise, False, shown(str(error.args[0])))
        else:
            yield Verdict(promise, True)


def missing(verdicts: Iterable[Verdict], may_lose: bool) -> list[Verdict]:
    """Those broken that somebody relies on; `may_lose`: the deployment has said that it may lose data."""
    needs = {Need.ALWAYS} if may_lose else {Need.ALWAYS, Need.LASTING}
    return [verdict for verdict in verdicts if verdict.is_kept is False and verdict.promise.need in needs]
