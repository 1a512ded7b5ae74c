"""CPU µs per record of profile, by part: `python -m tests.bench.profile_speed [events [batch [seed]]]`.

Traffic of cli/bench/workload.py, validated by ingest's core and numbered by the naive graph, worked off by the real
handlers on the ledger in memory, and produced into librdkafka's queue without a broker. `decide` is all of
ProfileHandler.decide; the indented lines are its parts, done once more on what it worked on. Takes 1 ms an event. The
digest at the end covers everything the handlers decided: a change that only makes it faster leaves it as it is.
"""

import gc
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from itertools import count, islice
from typing import Any

import msgspec
from confluent_kafka import Producer

from cli.bench.workload import Workload
from services.chassis.avro import Codec
from services.chassis.ids import node_of, partition_of
from services.chassis.kafka.relay import Relay
from services.chassis.records import Output, Record
from services.chassis.redis.claim import Claim, accept
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger, FakeServer
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge
from services.profile import handler as profile
from services.profile.adapters import load_config
from services.profile.core.customer_log import CustomerState
from services.profile.core.state import Thresholds
from services.profile.states import Packer, encode_state
from tests.property.identity.naive_graph import Limits, LogItem, NaiveGraph, Touch

PARTITIONS = 4
TOPIC = "touchpoints.resolved"
NOW_MS = 1_795_312_800_000
KEY = b"k" * 32
CUTS = Thresholds(7, 1000, (20, 60, 120, 200), (1, 2, 3, 5), (1_000, 5_000, 20_000, 80_000), 13, 90_000)


class Feed:
    """The workload as records of touchpoints.resolved."""

    def __init__(self, seed: int) -> None:
        self._bodies = Workload(seed, "bench").batches()
        self._graph = NaiveGraph(Limits(), lambda first, birth: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{first}{birth}")))
        self._graph.checks_links = False
        self._touchpoint, self._log = Codec("touchpoint"), Codec("customer_log")
        self._offsets = [0] * PARTITIONS
        self._numbers = dict.fromkeys(range(PARTITIONS), 0)

    def records(self) -> Iterator[Record]:
        """Endless, in the order of the graph."""
        for at_ms in count(NOW_MS):
            arrival = Arrival(Source("shop"), at_ms)
            for raw in msgspec.json.decode(next(self._bodies), type=dict[str, list[msgspec.Raw]])["batch"]:
                verdict = judge(bytes(raw), arrival, str)
                if isinstance(verdict, Accepted):
                    yield from self._resolved(msgspec.structs.asdict(verdict.touchpoint))

    def _resolved(self, touchpoint: dict[str, Any]) -> Iterator[Record]:
        source = partition_of(node_of(touchpoint["identifiers"][0], KEY).encode(), PARTITIONS)
        touch = Touch(
            "event", tuple(touchpoint["identifiers"]), touchpoint["event_id"], (source, self._offsets[source])
        )
        self._offsets[source] += 1
        self._graph.log.clear()
        self._graph.step(touch)
        for item in self._graph.log:
            key = item.customer.encode()
            target = partition_of(key, PARTITIONS)
            self._numbers[target] += 1
            place = f"1.{source}.{touch.place[1]}"
            headers = {"kind": item.kind.encode(), "n": b"%d" % item.n}
            if item.kind == "event":
                headers["node"] = node_of(touch.ids[0], KEY).encode()
                value = self._touchpoint.encode(touchpoint)
            else:
                value = self._hand_over(item, place, touchpoint["received_at"])
            headers |= {"src": place.encode(), "seq": b"0:%d" % self._numbers[target]}
            yield Record(TOPIC, target, self._numbers[target] - 1, key, value, headers, NOW_MS)

    def _hand_over(self, item: LogItem, place: str, accepted_at: int) -> bytes:
        k = item.pieces[0][0] if item.pieces else item.k
        pieces = [{"handoff_id": f"{place}.{k}", "to_id": to, "nodes": list(nodes)} for k, to, nodes in item.pieces]
        return self._log.encode(
            {
                "kind": item.kind, "customer_id": item.customer, "n": item.n, "cause": f"{place}.{k}",
                "accepted_at": accepted_at, "handoff_id": f"{place}.{k}" if item.kind == "take" else "",
                "from_id": item.giver, "pieces": pieces, "nodes": [],
            }
        )  # fmt: skip


class Watch:
    """CPU by part."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}

    def time(self, part: str, work: Callable[[], Any]) -> Any:
        """The work's result."""
        began = time.process_time()
        result = work()
        self.spent_s[part] = self.spent_s.get(part, 0.0) + time.process_time() - began
        return result


class Recorder:
    """Stands for the handler's writer and keeps what it was asked for."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self.calls: dict[str, list[tuple[Any, ...]]] = {"change": [], "snapshot": []}
        self.ended = writer.ended

    def change(self, *args: Any) -> Output:
        """See ProfileWriter."""
        self.calls["change"].append(args)
        return self._writer.change(*args)

    def snapshot(self, *args: Any) -> Output:
        """See ProfileWriter."""
        self.calls["snapshot"].append(args)
        return self._writer.snapshot(*args)

    def again(self, watch: Watch) -> None:
        """Everything once more, on the watch."""
        for name, calls in self.calls.items():
            write = getattr(self._writer, name)
            watch.time(f"  writer.{name}", lambda: [write(*args) for args in calls])  # noqa: B023 - called at once
            calls.clear()


class Bench:
    """A ledger, and one handler per partition."""

    def __init__(self) -> None:
        self.watch, self.digest, self.outputs = Watch(), blake2b(), 0
        self._ledger = FakeLedger(FakeServer())
        self._producer = Producer({"log_level": 0, "delivery.report.only.error": True})
        self._relay = Relay(lambda: self._producer)
        self._touchpoint, self._packer = Codec("touchpoint"), Packer()
        self._states = msgspec.msgpack.Decoder(CustomerState)
        config = load_config("deploy/config/profile.yaml", "deploy/config/tags.yaml", "Asia/Shanghai")
        self._claims: list[Claim] = []
        self._handlers: list[profile.ProfileHandler] = []
        self._recorders: list[Recorder] = []
        for number in range(PARTITIONS):
            claim = self._ledger.claim(Slot("profile", number), TOPIC, "cluster", "topic", 0)
            made = profile.ProfileHandler(
                claim.slot, self._ledger, claim.waits, config, PARTITIONS, lambda: CUTS, 200_000
            )
            self._recorders.append(Recorder(made._writer))
            made._writer = self._recorders[-1]  # type: ignore[assignment]
            self._claims.append(claim)
            self._handlers.append(made)

    def work_off(self, records: list[Record], now_ms: int) -> None:
        """One batch of one partition."""
        number, watch = records[0].partition, self.watch
        claim, recorder = self._claims[number], self._recorders[number]
        seen = dict(claim.seen)
        watch.time("accept", lambda: [accept(seen, record) for record in records])
        decision = watch.time("decide", lambda: self._handlers[number].decide(records, [], now_ms))
        recorder.again(watch)
        events = [record.value for record in records if record.headers["kind"] == b"event"]
        watch.time("  decode touchpoints", lambda: [self._touchpoint.decode(value) for value in events])
        packed = {key: value for key, value in decision.sets.items() if ":c:" in key}
        plain = watch.time("  unpack states", lambda: [self._packer.unpack(value) for value in packed.values()])
        decoded = watch.time("  decode states", lambda: [self._states.decode(value) for value in plain])
        watch.time("  encode states", lambda: [encode_state(state) for state in decoded])
        watch.time("  pack states", lambda: [self._packer.pack(value) for value in plain])
        decided = replace(decision, sets={**decision.sets, **dict(zip(packed, plain, strict=True))})
        self.digest.update(msgspec.msgpack.encode((decided, decision.outputs), order="deterministic"))
        entry = watch.time(
            "apply", lambda: self._ledger.apply(claim, decision, seen, records[-1].offset + 1, records[-1].log_ms)
        )
        watch.time("relay produce", lambda: self._relay._produce([(claim, entry)]))
        self._producer.purge()  # nobody takes what is queued
        self._producer.flush(1)
        self._ledger.delete(entry.late_deletes)
        claim.acknowledge()
        self.outputs += len(entry.outputs)


def main() -> None:
    """Run and print. The first third is not counted: states grow and caches fill."""
    given = [int(text) for text in sys.argv[1:]]
    events, batch, seed = given + [30_000, 1_000, 1][len(given) :]
    bench, feed, worked = Bench(), Feed(seed).records(), 0
    gc.freeze()  # as services.chassis.run does
    gc.set_threshold(50_000, 20, 50)
    waiting: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    for number, record in enumerate(islice(feed, events)):
        waiting[record.partition].append(record)
        if len(waiting[record.partition]) == batch:
            bench.work_off(waiting[record.partition], NOW_MS + number)
            waiting[record.partition] = []
            worked += batch
            if number < events // 3:
                bench.watch.spent_s.clear()
                worked = 0
    print(f"{worked} records in batches of {batch}, {bench.outputs} outputs")
    for part, spent_s in bench.watch.spent_s.items():
        print(f"{part:<22}{spent_s / worked * 1e6:7.1f} µs")
    total = sum(spent_s for part, spent_s in bench.watch.spent_s.items() if not part.startswith(" "))
    print(f"{'together':<22}{total / worked * 1e6:7.1f} µs")
    print(f"digest {bench.digest.hexdigest()[:16]}")


if __name__ == "__main__":
    main()
