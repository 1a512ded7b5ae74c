"""What the output topics say of how the input was worked: in which batches, what was poison, of which log."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.chassis.avro import Codec
from services.chassis.errors import Fatal
from services.chassis.kafka.reader import Place
from services.chassis.kafka.streams import Streams, places
from services.chassis.records import Record
from services.chassis.registry import Registry
from services.identity.core.decisions import Batch, parse_header
from services.identity.handler import CHANGES, RESOLVED
from services.identity.rebuild.eras import KIND, Era, era_of

TOPIC, DEAD = "touchpoints", "identity.dead"
OUTPUTS = (RESOLVED, CHANGES, DEAD)


@dataclass(slots=True)
class Survey:
    """What the output topics say of how the input was worked: batches by number, poison by place, the generation.

    eras: number of the first batch under a policy → that policy.
    """

    batches: dict[int, tuple[int, Batch]] = field(default_factory=dict)
    poison: dict[tuple[int, int], str] = field(default_factory=dict)
    dead: dict[int, dict[str, int]] = field(default_factory=dict)  # partition → last number in identity.dead by place
    eras: dict[int, Era] = field(default_factory=dict)
    generation: int = 1


def generation_of(bootstrap: str, partitions: int, firsts: Mapping[Place, int]) -> int:
    """The generation of the log that the oldest records of touchpoints.resolved name; 1 without any."""
    with Streams(bootstrap, {place: firsts[place] for place in places((RESOLVED,), partitions)}) as streams:
        oldest = [streams.next(place) for place in places((RESOLVED,), partitions)]
    return max((int(record.headers["src"].partition(b".")[0]) for record in oldest if record is not None), default=1)


def survey(bootstrap: str, partitions: int, firsts: dict[Place, int], registry: Registry) -> Survey:
    """Read the headers of everything identity wrote. Raises Fatal for records that say nothing of their order."""
    found, codec, change = Survey(), Codec("dead_letter", registry), Codec("identity_change", registry)
    generations: set[int] = set()
    with Streams(bootstrap, {place: firsts[place] for place in places(OUTPUTS, partitions)}) as streams:
        for place in places(OUTPUTS, partitions):
            last = b""
            for record in streams.all_of(place):
                raw = record.headers.get("batch", b"")
                if raw != last:
                    found.batches[_number(place, record, raw)] = _batch(record, raw)
                    last = raw
                if place[0] == DEAD:
                    letter = codec.decode(record.value)
                    found.poison[letter["partition"], letter["offset"]] = letter["error"]
                    source, _, number = record.headers["seq"].partition(b":")
                    base, name = found.dead.setdefault(int(source), {}), f"{place[0]}/{place[1]}"
                    base[name] = max(int(number), base.get(name, 0))
                elif place[0] == CHANGES and not record.key:  # of no customer
                    told = change.decode(record.value)
                    if told["kind"] == KIND:
                        found.eras[parse_header(raw).number] = era_of(told)
                elif place[0] == RESOLVED:
                    generations.add(int(record.headers["src"].partition(b".")[0]))
    if len(generations) > 1:
        raise Fatal(f"touchpoints.resolved holds places of several logs {sorted(generations)}: its log was moved")
    found.generation = max(generations, default=1)
    return found


def _number(place: Place, record: Record, raw: bytes) -> int:
    if not raw:
        raise Fatal(
            f"{place[0]} partition {place[1]} offset {record.offset} has no header `batch`: it was written by a release"
            " that did not record the order of its decisions, which cannot be repeated"
        )
    return parse_header(raw).number


def _batch(record: Record, raw: bytes) -> tuple[int, Batch]:
    return int(record.headers["seq"].partition(b":")[0]), parse_header(raw)
