"""Records as the archive reads them, made from the benchmark's traffic by the cores of the services before it."""

from itertools import islice

import msgspec

from cli.bench.workload import BATCH, Workload
from services.chassis.avro import Codec
from services.chassis.ids import node_of, stable_id, uuid_text
from services.chassis.records import Record
from services.chassis.redis.slots import Slot
from services.chassis.testing.examples import all_examples
from services.chassis.testing.fake_ledger import FakeLedger
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge
from services.profile.adapters import load_config
from services.profile.handler import ProfileHandler

NOW_MS = 1_795_312_800_000
KEY = b"k" * 32
# What profile takes at once when it is busy: a customer's snapshot is written once in it.
PROFILE_BATCH = 1_000
# Records per event where no core makes them, as a run of `touchstream bench` wrote them.
SHARES = {"identity.changes": 0.25, "triggers": 0.025, "deliveries": 0.05}
RECORDS = {"identity.changes": "identity_change", "triggers": "trigger", "deliveries": "delivery"}


def make_records(events: int) -> dict[str, list[Record]]:
    """Topic → the records of one partition that about `events` sent events cause (each event its own partition)."""
    raws = [
        msgspec.json.encode(event)
        for body in islice(Workload(42, "bench").batches(), events // BATCH)
        for event in msgspec.json.decode(body)["batch"]
    ]
    arrival, codec, numbers = Arrival(Source("local"), NOW_MS), Codec("touchpoint"), dict[str, int]()
    resolved: list[Record] = []
    for raw in raws:
        verdict = judge(raw, arrival, str)
        if isinstance(verdict, Accepted):
            primary = verdict.touchpoint.identifiers[0]
            customer = uuid_text(bytes.fromhex(stable_id(primary)))
            numbers[customer] = numbers.get(customer, 0) + 1
            headers = {
                "kind": b"event", "n": b"%d" % numbers[customer], "node": node_of(primary, KEY).encode(),
                "src": b"1.0.%d" % len(resolved),
            }  # fmt: skip
            value = codec.encode(msgspec.structs.asdict(verdict.touchpoint))
            resolved.append(_record("touchpoints.resolved", len(resolved), customer.encode(), value, headers))
    made = {"touchpoints.resolved": resolved, "profile.changes": [], "profiles": []}
    handler = ProfileHandler(
        Slot("profile", 0),
        FakeLedger(),
        {},
        load_config("deploy/config/profile.yaml", "deploy/config/tags.yaml", "Asia/Shanghai"),
        1,
        lambda: None,
        100_000,
    )
    for start in range(0, len(resolved), PROFILE_BATCH):
        decision = handler.decide(resolved[start : start + PROFILE_BATCH], [], NOW_MS)
        for output in decision.outputs if decision is not None else ():
            topic = made[output.topic]
            topic.append(_record(output.topic, len(topic), output.key, output.value, dict(output.headers)))
    examples = {name: [one for one in all_examples() if one.record == record] for name, record in RECORDS.items()}
    for name, share in SHARES.items():
        made[name] = [
            _record(name, i, b"%d" % i, examples[name][i % len(examples[name])].value, {"src": b"1.0.%d" % i})
            for i in range(int(len(resolved) * share))
        ]
    return made


def _record(topic: str, offset: int, key: bytes, value: bytes | None, headers: dict[str, bytes]) -> Record:
    # The relay's header comes last, as on the wire.
    return Record(topic, 0, offset, key, value, headers | {"seq": b"0:%d" % (offset + 1)}, NOW_MS)
