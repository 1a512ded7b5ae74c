"""The replay: the same touchpoints through the same script, in the order in which it decided.

The order across partitions is the number in the header `batch` of everything identity wrote. What the script decides is
compared with what stands in the topics; what does not stand there was never sent and stays in the outbox. Touchpoints
of which nothing was written were duplicates or of erased customers, or asked for something that changed nothing: they
are never asked again out of their order, where one of them might come first.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from services.chassis.avro import Codec
from services.chassis.errors import Fatal
from services.chassis.kafka.spool import Spool
from services.chassis.records import Decision, Record
from services.chassis.redis.claim import Poisoned
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.rebuild import open_ledger
from services.chassis.redis.slots import Slot
from services.chassis.registry import Registry
from services.identity.adapters import SERVICE, TAG
from services.identity.core.decisions import Batch
from services.identity.core.links import Asked, Request, message_of
from services.identity.core.policy import Policy
from services.identity.handler import Json
from services.identity.policies import RULES
from services.identity.rebuild.asking import Under
from services.identity.rebuild.eras import Era
from services.identity.rebuild.outputs import Outputs, Rebuilt, Sources
from services.identity.rebuild.requests import ID, Told, asked, id_of, links_in, request_of
from services.identity.rebuild.survey import TOPIC, Survey

PURGE_EVERY = 200
_NOTHING = Decision()


class Rebuild:
    """One run over all partitions."""

    def __init__(
        self, ledger: Ledger, policy: Policy, key: bytes, partitions: int, registry: Registry, found: Survey,
        sources: Sources, spool: Spool, advance: Callable[[int], object],
    ) -> None:  # fmt: skip
        """`sources.worked`: partition → offset before which everything is known to be worked off and sent. `spool`
        takes what was written to touchpoints.resolved and is not there any more."""
        self._ledger, self._partitions, self._found, self._sources = ledger, partitions, found, sources
        self._advance, self._refused, self._codec = advance, set[bytes](), Codec("touchpoint", registry)
        self._codes = {name: kind.code for name, kind in policy.kinds.items()}
        self._ahead: dict[int, Record] = {}
        self._told: dict[tuple[int, int], Told] = {}
        self.done = Rebuilt()
        self._outputs = Outputs(sources, registry, spool, self.done)
        older = sources.older
        self._batches = {**(older.batches() if older else {}), **found.batches}
        self._older = older.touchpoints() if older else iter(())
        self._older_next = next(self._older, None)
        self._linked = older.linked() if older else iter(())
        self._linked_next = next(self._linked, None)
        self._eras = {**(older.eras() if older else {}), **found.eras}
        self._seams = {p: sources.firsts[TOPIC, p] for p in range(partitions)}
        self.claims = {
            p: open_ledger(ledger, Slot(SERVICE, p, True), TOPIC, 0 if older else self._seams[p], found.generation)
            for p in range(partitions)
        }
        self._key, self._registry = key, registry
        self._under = Under(ledger, policy, None, key, registry, self.claims)

    def run(self) -> Rebuilt:
        """Work off every batch. Raises Fatal naming the first difference between what is decided and what was sent."""
        following, worked = _following(self._batches), self._sources.worked
        for count, number in enumerate(sorted(self._batches)):
            partition, batch = self._batches[number]
            if self.claims[partition].position > batch.first:
                raise Fatal(f"{TOPIC} partition {partition}: batch {number} begins at {batch.first} again")
            self._silent(partition, batch.first)
            if number in self._eras:
                self._begin(self._eras[number], partition, number, batch.upto)
            self._work(partition, number, batch.upto)
            # What follows and left no trace goes as early as it can have been.
            self._silent(partition, following.get(number, max(worked.get(partition, 0), batch.upto)))
            if count % PURGE_EVERY == PURGE_EVERY - 1:
                self._under.graph.purge(self._partitions)
        for partition, claim in self.claims.items():
            self._silent(partition, max(worked.get(partition, 0), claim.position, self._seams[partition]))
        self._close(max(self._batches, default=0))
        return self.done

    def _begin(self, era: Era, partition: int, number: int, upto: int) -> None:
        """From this batch on another policy holds."""
        policy = era.policy()
        self._ledger.client.set(f"{RULES}{era.version}", era.text)
        self._codes |= {name: kind.code for name, kind in policy.kinds.items()}
        self._under = Under(self._ledger, policy, era, self._key, self._registry, self.claims)
        is_silent = self._older_next is None or self._older_next.batch != number
        if is_silent and upto <= self._seams[partition]:
            # The batch told the policy and nothing else; its touchpoints are in no table. One that asks for nothing.
            message = message_of("", f"policy {era.version}")
            self._under.workers[partition].requests[era.offset] = asked(Request.UNLINK, [bytes(ID)], message), {}
            self._step(partition, [Record(TOPIC, partition, era.offset, b"", None, {}, era.since_ms)], era.offset + 1)

    def _close(self, last: int) -> None:
        self._under.graph.purge(self._partitions)
        if last:
            self._ledger.client.hset(f"{TAG}:counters", "batches", last)
        for claim in self.claims.values():
            claim.poisoned = Poisoned()
            if self._sources.older is not None:
                count, base = claim.take_trim()
                claim.base = {**base, **self._found.dead.get(claim.slot.partition, {})}
                claim.stored[:count] = [{}] * count  # counted just now
            self._ledger.apply(claim, _NOTHING, claim.seen, claim.position, 0)

    def _work(self, partition: int, number: int, upto: int) -> None:
        """One batch: what retention has taken first, requests of it by themselves."""
        events: list[Record] = []
        new = self._new_ones(number)
        while self._older_next is not None and self._older_next.batch == number:
            told, self._older_next = self._older_next, next(self._older, None)
            record = Record(TOPIC, partition, told.offset, b"", None, {}, told.log_ms)
            self._told[partition, told.offset] = told
            self.done.from_clickhouse += 1
            if told.is_request:
                self._step(partition, events, told.offset)
                events = []
                self._under.workers[partition].requests[told.offset] = self._request(told)
                self._step(partition, [record], told.offset + 1)
            else:
                record.value = self._codec.encode(told.fields)
                self._bury(told, new)
                events.append(record)
        events += self._until(partition, upto)
        self._step(partition, events, upto)
        self._told.clear()

    def _new_ones(self, number: int) -> dict[bytes, int]:
        """Identifier → offset of the touchpoint of this batch at which it was new, as the changes say."""
        found: dict[bytes, int] = {}
        while self._linked_next is not None and self._linked_next[0] <= number:
            _, offset, kind, nodes = self._linked_next
            for node in nodes:
                raw = id_of(node, self._codes)
                if kind == "blocked":
                    self._refused.add(raw)
                if self._linked_next[0] == number:
                    found.setdefault(raw, offset)
            self._linked_next = next(self._linked, None)
        return found

    def _bury(self, told: Told, new: Mapping[bytes, int]) -> None:
        """Put tombstones where one must have stood: beside a touchpoint's first identifier, one that the graph did not
        know, and that neither joined nor was refused, had been erased before anybody knew it. Nothing else tells of it.
        A refusal is announced once: who was refused before may have been refused again.
        """
        client, fields, policy = self._ledger.client, told.fields, self._under.policy
        for identifier in fields["identifiers"]:
            kind, _, value = identifier.partition(":")
            if policy.is_blocked(kind, value):
                continue
            raw = self._under.encode(identifier)
            if raw[0] in policy.attributes.get(fields["source"], ()):
                continue
            if raw not in self._refused and new.get(raw, told.offset + 1) > told.offset:
                client.set(f"{TAG}:i:".encode() + raw, b"-", nx=True)

    def _request(self, told: Told) -> tuple[Asked, Json]:
        request, identifiers = request_of(told, self._codes, links_in(self._ledger.client))
        return asked(request, identifiers, message_of(told.fields["source"], told.fields["event_id"])), told.fields

    def _until(self, partition: int, upto: int) -> Iterator[Record]:
        """The next records of the topic before offset `upto`."""
        place, position = (TOPIC, partition), max(self.claims[partition].position, self._seams[partition])
        while position < upto:
            record = self._ahead.pop(partition, None) or self._sources.inputs.next(place)
            if record is None:
                raise Fatal(f"{TOPIC} partition {partition}: offsets {position} to {upto - 1} are missing at its end")
            if record.offset >= upto:
                self._ahead[partition] = record
                return
            record.poison = self._found.poison.get((partition, record.offset), "")
            position = record.offset + 1
            yield record

    def _silent(self, partition: int, upto: int) -> None:
        """Records up to `upto` of which nothing was written: only what asks for an end or a split may leave a trace."""
        if upto <= max(self.claims[partition].position, self._seams[partition]):
            return
        kept, last = [], 0
        for record in self._until(partition, upto):
            last = record.log_ms
            if record.poison or self._codec.decode(record.value)["type"] in ("unlink", "erase"):
                kept.append(record)
        self._step(partition, kept, upto, last)

    def _step(self, partition: int, records: list[Record], upto: int, log_ms: int = 0) -> None:
        claim = self.claims[partition]
        claim.poisoned = Poisoned(allowed=upto)
        log_ms = log_ms or (records[-1].log_ms if records else 0)
        entry = self._under.workers[partition].step(records, {}, upto, log_ms, 0)
        if entry is not None and entry.outputs:
            self._outputs.compare(claim, entry, {record.offset: record.log_ms for record in records}, self._told)
        self.done.touchpoints += len(records)
        self._advance(len(records))


def _following(found: Mapping[int, tuple[int, Batch]]) -> dict[int, int]:
    """Batch number → where the next batch of its partition begins."""
    by_partition: dict[int, list[int]] = defaultdict(list)
    for number in sorted(found):
        by_partition[found[number][0]].append(number)
    return {number: found[after][1].first for numbers in by_partition.values() for number, after in pairwise(numbers)}
