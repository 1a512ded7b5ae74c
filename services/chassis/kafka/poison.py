"""When so many records become dead letters that the program or a source is wrong, not the records: the line stops.

Judged before a batch is applied, on counts that are stored with the position: a process that is started again stands in
front of the same records; however often, and in however small batches, a stopped line passes on fewer than
POISON_SAMPLE of them in all. Only an operator lets them pass (`touchstream dead allow`).
"""

from collections.abc import Sequence

from services.chassis.errors import Fatal
from services.chassis.records import Decision, Entry, Record
from services.chassis.redis.claim import Claim, Poisoned

# Above this share of dead letters among recent records something is wrong with the program, not with the records.
POISON_SHARE, POISON_SAMPLE = 0.5, 200


def judge(claim: Claim, records: Sequence[Record], dead: int) -> Poisoned:
    """What claim.poisoned is once these records are applied, `dead` of them as dead letters.

    Raises Fatal, so that nothing is applied, when too many are. A batch without one always passes: it mends the share.
    """
    before = claim.poisoned
    if records and records[0].offset < before.allowed:
        return Poisoned(allowed=before.allowed)
    recent, recent_dead = before.recent + len(records), before.dead + dead
    if recent < POISON_SAMPLE or (recent_dead > POISON_SHARE * recent and not dead):
        return Poisoned(recent, recent_dead, before.allowed)
    if recent_dead <= POISON_SHARE * recent:
        return Poisoned(allowed=before.allowed)
    service, partition = claim.slot.service.split(".", 1)[0], claim.slot.partition
    raise Fatal(
        f"{service}: {recent_dead} of the last {recent} records of {claim.topic} partition {partition} are for"
        f" {service}.dead, the last {len(records)} of them (from offset {claim.position} on) not yet sent there. The"
        " line is stopped and stays so over restarts: look at those before with `touchstream dead`, mend the program or"
        f" the source, start again. Are the records to blame, `touchstream dead allow --service {service} --topic"
        f" {claim.topic} --partition {partition} --to OFFSET` lets those before OFFSET become dead letters."
    )


def dead_in(sent: Decision | Entry) -> int:
    """How many dead letters are among the outputs."""
    return sum(1 for output in sent.outputs if output.topic.endswith(".dead"))
