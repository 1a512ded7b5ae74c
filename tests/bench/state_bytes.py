"""Bytes in Redis per customer, of identity and of profile: `python -m tests.bench.state_bytes [customers [scale]]`.

Customers with three identifiers (user id, phone, anonymous id) and 50, 500 and 5,000 events over a year: visits on some
thirty days, one event in ten an order, one order in ten refunded, one in thirty cancelled. Their messages go through
ingest's core, identity's real worker and script, and profile's real handler, on a Valkey of their own. `value`: keys
and values as they are, and the customer's timer; `memory`: what MEMORY USAGE says, with the server's own structures.
`known`: every event names the customer; `visitor`: the first fifth names only the browser, so that two customers merge
and there are two parts; `reader`: as known, and never buys. An order keeps a line of its own (see core/orders.py), so
bytes grow with orders; with events they do not.
"""

import gc
import random
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import redis

from services.chassis.avro import Codec
from services.chassis.ids import node_of
from services.chassis.records import Record
from services.chassis.redis.client import sync_client
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.registry import open_registry
from services.identity.adapters import SERVICE, Encoder, Graph, load_policy
from services.identity.handler import IdentityWorker, Writer
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge
from services.profile.handler import ProfileHandler
from tests.conformance.valkey_server import valkey_server
from tests.unit.profile.profile_builders import CONFIG

KEY, NOW_MS, DAY_MS, BATCH = b"k" * 32, 1_795_312_800_000, 86_400_000, 500
NAMES = ["Product Viewed"] * 20 + ["Page Viewed"] * 12 + ["Product Added"] * 4 + ["Cart Viewed"] * 3 + ["Logged In"] * 3
KINDS = ("known", "visitor", "reader")
NAMES += ["Message Opened", "Coupon Applied", "Product Searched", "Order Completed"] + ["Order Completed"] * 4


def messages(customer: int, count: int, kind: str, now_ms: int = NOW_MS) -> Iterator[dict[str, Any]]:
    """One customer's messages of the year before `now_ms`, oldest first."""
    chance = random.Random(f"{customer}/{count}")
    days = [chance.uniform(1, 364) for _ in range(30)]
    moments = sorted(now_ms - int((chance.choice(days) + chance.random() / 24) * DAY_MS) for _ in range(count))
    orders: list[str] = []
    for number, at in enumerate(moments):
        name = "Registered" if number == count // 5 else chance.choice(NAMES[: -5 if kind == "reader" else None])
        properties: dict[str, Any] = {"sku": f"s{number % 97}"}
        if name == "Order Completed":
            if orders and chance.random() < 0.13:
                name = chance.choice(["Order Refunded"] * 3 + ["Order Cancelled"])
            else:
                orders.append(f"SO-{customer:05d}-{number:04d}")
            properties = {"order_id": chance.choice(orders[-3:]), "total": chance.randrange(900, 90_000) / 100}
        message: dict[str, Any] = {
            "type": "track", "event": name, "messageId": f"{customer:08x}-{number:04x}-4aaa-8bbb-123456789abc",
            "anonymousId": f"5f0c{customer:08x}-9a1b-4ccc-8ddd-{customer:012x}", "properties": properties,
            "timestamp": datetime.fromtimestamp(at / 1000, UTC).isoformat(),
        }  # fmt: skip
        if kind != "visitor" or number >= count // 5:
            message["userId"] = f"u-{customer:08d}"
            message["context"] = {"traits": {"phone": f"+8613{customer:09d}"}}
        yield message


class Lab:
    """One partition of identity and of profile on a server."""

    def __init__(self, client: "redis.Redis") -> None:
        policy, ledger, registry = load_policy("deploy/config/identity.yaml"), Ledger(client), open_registry()
        self._ledger, self._codec = ledger, Codec("touchpoint")
        self._claims = [
            ledger.claim(Slot(SERVICE, 0, True), "touchpoints", "cluster", "topic", 0),
            ledger.claim(Slot("profile", 0), "touchpoints.resolved", "cluster", "topic", 0),
        ]
        graph, writer = Graph(ledger, policy), Writer(policy, 1, registry)
        encode = Encoder(policy, KEY).encode
        self._identity = IdentityWorker(self._claims[0], ledger, graph, writer, policy, encode, lambda *place: [])
        profile = self._claims[1]
        self._profile = ProfileHandler(profile.slot, ledger, profile.waits, CONFIG, 1, lambda: None, 10_000)

    def work_off(self, some: list[dict[str, Any]]) -> None:
        """Messages through both services."""
        arrival, values = Arrival(Source("shop"), NOW_MS, is_import=True), []
        for message in some:
            verdict = judge(msgspec.json.encode(message), arrival, str)
            assert isinstance(verdict, Accepted), verdict
            touchpoint = verdict.touchpoint
            values.append((node_of(touchpoint.identifiers[0], KEY).encode(), msgspec.structs.asdict(touchpoint)))
        claim = self._claims[0]
        records = [
            Record("touchpoints", 0, claim.position + place, key, self._codec.encode(value), {}, NOW_MS)
            for place, (key, value) in enumerate(values)
        ]
        entry = self._identity.step(records, {}, records[-1].offset + 1, NOW_MS, NOW_MS)
        claim.acknowledge()
        assert entry is not None
        claim = self._claims[1]
        resolved = [output for output in entry.outputs if output.topic == "touchpoints.resolved"]
        records = []
        for place, output in enumerate(resolved, claim.position):
            headers = {name: value.encode() if isinstance(value, str) else value for name, value in output.headers}
            records.append(Record(output.topic, 0, place, output.key, output.value, headers, NOW_MS))
        decision = self._profile.decide(records, [], NOW_MS)
        assert decision is not None
        done = self._ledger.apply(claim, decision, {}, records[-1].offset + 1, NOW_MS)
        self._ledger.delete(done.late_deletes)
        claim.acknowledge()


def usage(client: "redis.Redis", patterns: list[str]) -> tuple[int, int]:
    """(bytes of keys and values, bytes of memory) of all keys of these patterns."""
    value = memory = 0
    for pattern in patterns:
        for key in client.scan_iter(pattern, 10_000):
            if client.type(key) == b"zset":  # timers: member and score
                value += sum(len(member) + 8 for member in client.zrange(key, 0, -1))
            else:
                value += len(key) + len(client.get(key) or b"")
            memory += int(client.memory_usage(key, samples=0) or 0)
    return value, memory


def measure(customers: int, count: int, kind: str) -> list[float]:
    """One line of the table: value and memory of identity, of profile, and of both."""
    with tempfile.TemporaryDirectory() as folder, valkey_server(Path(folder), "no") as url:
        client = sync_client(url)
        lab = Lab(client)
        batch: list[dict[str, Any]] = []
        for customer in range(customers):
            for message in messages(customer, count, kind):
                batch.append(message)
                if len(batch) == BATCH:
                    lab.work_off(batch)
                    batch = []
        if batch:
            lab.work_off(batch)
        mine = ["{profile:0}:c:*", "{profile:0}:due:0"]
        found = [usage(client, patterns) for patterns in (["{identity}:[icb]:*"], mine)]
        states = sum(1 for _ in client.scan_iter("{profile:0}:c:*"))
    assert states == customers, f"{states} customers of {customers}"
    both = found[0][0] + found[1][0], found[0][1] + found[1][1]
    return [one / customers for pair in (*found, both) for one in pair]


def main() -> None:
    """Print the table."""
    given = [int(text) for text in sys.argv[1:]]
    customers, scale = given + [400, 1][len(given) :]
    gc.freeze()
    print(f"{'':<15}{'identity':>22}{'profile':>22}{'together':>22}")
    print(f"{'':<8}{'events':>7}" + f"{'value':>11}{'memory':>11}" * 3)
    for count, share in ((50, 1), (500, 5), (5_000, 40)):
        for kind in KINDS:
            cells = measure(max(2, customers // share), count // scale, kind)
            print(f"{kind:<8}{count:>7,}" + "".join(f"{cell:>11,.0f}" for cell in cells))


if __name__ == "__main__":
    main()
