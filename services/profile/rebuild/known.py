"""What the topics say of a partition besides its changes: the last snapshots, dead records, the last numbers sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.chassis.avro import Codec
from services.chassis.kafka.reader import Place
from services.chassis.kafka.streams import Streams, places
from services.chassis.registry import Registry
from services.profile.codec import PROFILES

DEAD = "profile.dead"
UNKNOWN = -1


def version_of(recency_days: int, version: int) -> int:
    """The thresholds that were in force, 0 for none: UNKNOWN where nothing was bought, so that none were asked."""
    return version if recency_days >= 0 else UNKNOWN


@dataclass(frozen=True, slots=True)
class Last:
    """The last snapshot of a customer. `mark`: hash of its bytes."""

    rev: int
    n: int
    updated_at: int
    version: int
    mark: int


@dataclass(slots=True)
class Known:
    """What the topics say of a partition besides its changes: snapshots, dead records, the last number sent where."""

    last: dict[str, Last] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)  # whose last snapshot says that they are gone
    poison: dict[int, str] = field(default_factory=dict)
    base: dict[str, int] = field(default_factory=dict)


def look(bootstrap: str, partitions: int, firsts: Mapping[Place, int], registry: Registry) -> dict[int, Known]:
    """Read `profiles` and profile.dead."""
    found = {p: Known() for p in range(partitions)}
    profile, letter = Codec("profile", registry), Codec("dead_letter", registry)
    with Streams(bootstrap, {place: firsts[place] for place in places((PROFILES, DEAD), partitions)}) as streams:
        for place in places((PROFILES, DEAD), partitions):
            for record in streams.all_of(place):
                source, _, number = record.headers["seq"].partition(b":")
                known = found[int(source)]
                name = f"{place[0]}/{place[1]}"
                if int(number) <= known.base.get(name, 0):
                    continue  # sent twice
                known.base[name] = int(number)
                if place[0] == DEAD:
                    value = letter.decode(record.value)
                    known.poison[value["offset"]] = value["error"]
                    continue
                value = profile.decode(record.value)
                before = known.last.get(value["customer_id"])
                if before is None or before.rev < value["rev"]:
                    if value["deleted"]:
                        known.ended.add(value["customer_id"])
                        known.last.pop(value["customer_id"], None)
                    else:
                        known.last[value["customer_id"]] = Last(
                            value["rev"], value["n"], value["updated_at"],
                            version_of(value["recency_days"], value["thresholds_version"]), hash(record.value),
                        )  # fmt: skip
    return found
