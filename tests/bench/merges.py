"""What merges cost: one customer that takes many, chains, storms; in the graph's script and through profile.

`python -m tests.bench.merges [customers [chain]]` (1,000 and 100; about two minutes): the real worker and script on a
Valkey of its own, then profile's handler on the ledger in memory, which works off what identity sent. Times are CPU or
the script's; bytes and operations do not depend on the machine, and tests/property/identity/test_merge_costs.py bounds
them.
"""

import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from services.chassis.redis.slots import Slot
from services.identity.adapters import TAG
from services.identity.core.policy import Policy, parse_policy
from services.identity.handler import CHANGES
from tests.conformance.valkey_server import valkey_server
from tests.property.identity.graph_lab import KINDS, PARTITIONS, GraphLab
from tests.property.identity.naive_graph import Touch
from tests.property.identity.profile_behind import ProfileBehind

NOW_MS = 1_795_312_800_000


@dataclass
class Cost:
    """What a scenario took; bytes are those of everything, merges or not."""

    merges: int = 0
    script_ms: list[float] = field(default_factory=list)
    outbox_bytes: int = 0
    changes_bytes: int = 0
    resolved_bytes: int = 0
    state_bytes: int = 0
    profile_ms: list[float] = field(default_factory=list)
    profile_written_bytes: int = 0
    profile_outputs_bytes: int = 0
    profile_state_bytes: int = 0


def roomy(size: int) -> Policy:
    """No limits but the number of identifiers."""
    kinds = {name: {"code": code, "known": known} for name, (code, _, known) in KINDS.items()}
    return parse_policy({"kinds": kinds, "max_identifiers_per_customer": size})


def fan_in(count: int) -> list[tuple[str, ...]]:
    """One customer takes many others."""
    return [("user_id:hub",), *((f"device_id:{i}",) for i in range(count)),
            *(("user_id:hub", f"device_id:{i}") for i in range(count))]  # fmt: skip


def chain(count: int) -> list[tuple[str, ...]]:
    """Every merge is into an older customer, so everything moves every time."""
    return [*((f"device_id:{i}",) for i in range(count)),
            *((f"device_id:{i}", f"device_id:{i - 1}") for i in range(count - 1, 0, -1))]  # fmt: skip


def pairs(count: int) -> list[tuple[str, ...]]:
    """A tournament: neighbours merge, then neighbours of those; from both ends at once."""
    asked = [(f"device_id:{i}",) for i in range(count)]
    step = 1
    while step < count:
        asked += [(f"device_id:{i}", f"device_id:{i + step}") for i in range(0, count - step, 2 * step)]
        asked += [(f"device_id:{i + step}", f"device_id:{i}") for i in range(0, count - step, 2 * step)]
        step *= 2
    return asked


class Line:
    """identity on a server and profile behind it; `asked` are worked in batches, partition after partition."""

    def __init__(self, client: "redis.Redis", policy: Policy) -> None:
        client.flushall()
        self.lab, self.client, self.cost = GraphLab(client, policy), client, Cost()
        self._profile = ProfileBehind()

    def run(self, asked: list[tuple[str, ...]], batch: int, sources: int = 1) -> Cost:
        """All of them; `sources` partitions take turns."""
        for first in range(0, len(asked), batch):
            number = first // batch % min(sources, PARTITIONS)
            for i, ids in enumerate(asked[first : first + batch]):
                place = number, len(self.lab.log[number])
                self.lab.append(Touch("event", ids, f"m{first + i}", place, NOW_MS))
            self._step(number)
        self.cost.state_bytes = sum(self.client.memory_usage(key) or 0 for key in self.client.keys(f"{TAG}:[ic]:*"))
        return self.cost

    def _step(self, number: int) -> None:
        self.client.config_resetstat()
        entry = self.lab.step(number)
        spent = self.client.info("commandstats")
        self.cost.script_ms.append(spent["cmdstat_evalsha"]["usec"] / 1000)
        outputs = entry.outputs if entry is not None else []
        stored = self.client.lrange(Slot("identity", number, True).outbox, -1, -1)
        self.cost.outbox_bytes += len(stored[0]) if stored else 0
        for output in outputs:
            size = len(output.value or b"")
            if output.topic == CHANGES:
                self.cost.changes_bytes += size
                self.cost.merges += b"merged" in (output.value or b"")[:24]
            else:
                self.cost.resolved_bytes += size
        began = time.process_time()
        decisions = self._profile.take(outputs, NOW_MS)
        self.cost.profile_ms.append((time.process_time() - began) * 1000)
        sizes = [len(value) for decision in decisions for value in decision.sets.values()]
        self.cost.profile_written_bytes += sum(sizes)
        self.cost.profile_state_bytes = max([self.cost.profile_state_bytes, *sizes])
        self.cost.profile_outputs_bytes += sum(
            len(output.value or b"") for decision in decisions for output in decision.outputs
        )


def told(name: str, cost: Cost) -> str:
    """One row."""
    n = max(1, cost.merges)
    figures: list[Any] = [
        cost.merges, f"{sum(cost.script_ms) / n:.3f}", f"{max(cost.script_ms):.1f}", f"{cost.outbox_bytes / n:,.0f}",
        f"{cost.changes_bytes / n:,.0f}", f"{cost.state_bytes:,}", f"{sum(cost.profile_ms) / n:.2f}",
        f"{max(cost.profile_ms):.0f}", f"{cost.profile_written_bytes / n:,.0f}",
        f"{cost.profile_outputs_bytes / n:,.0f}", f"{cost.profile_state_bytes:,}",
    ]  # fmt: skip
    return f"{name:<34}" + "".join(f"{figure:>12}" for figure in figures)


def links_of(client: Any, devices: int, visitors: int) -> list[tuple[int, float]]:
    """(links, µs of script an event) while one customer's devices meet its visitors, each pair once, 500 a script."""
    lab = GraphLab(client, roomy(2 * (devices + visitors)))
    met = [(f"device_id:d{i}", f"anonymous_id:a{j}") for i in range(devices) for j in range(visitors)]
    random.Random(1).shuffle(met)
    found = []
    for first in range(0, len(met), 500):
        chunk = met[first : first + 500]
        for number, pair in enumerate(chunk, first):
            lab.append(Touch("event", pair, f"m{number}", (0, number), 1))
        client.config_resetstat()
        lab.step(0)
        found.append((first + len(chunk), client.info("commandstats")["cmdstat_evalsha"]["usec"] / len(chunk)))
    return found


HEAD = ("merges", "script ms", "longest ms", "outbox B", "changes B", "graph B", "profile ms", "longest ms", "writes B",
        "outputs B", "state B")  # fmt: skip


def main() -> None:
    """Run and print; figures are per merge, except the longest and the sizes at the end."""
    count, length = ([int(text) for text in sys.argv[1:]] + [1_000, 100])[:2]
    print(f"{'':<34}" + "".join(f"{name:>12}" for name in HEAD))
    with tempfile.TemporaryDirectory() as folder, valkey_server(Path(folder), "no") as url:
        client = redis.Redis.from_url(url)
        for name, asked, batch, sources in (
            (f"fan-in {count // 2}, 3,000 a script", fan_in(count // 2), 3_000, 1),
            (f"fan-in {count}, 3,000 a script", fan_in(count), 3_000, 1),
            (f"fan-in {count}, 250 a script", fan_in(count), 250, 1),
            (f"fan-in {count}, 20 a script, {PARTITIONS} sources", fan_in(count), 20, PARTITIONS),
            (f"chain of {length}, one script", chain(length), 3_000, 1),
            (f"chain of {length}, one a script", chain(length), 1, 1),
            (f"chain of {count}, one script", chain(count), 3_000, 1),
            (f"pairs of {count}, both ways", pairs(count), 50, PARTITIONS),
        ):
            print(told(name, Line(client, roomy(2 * count)).run(asked, batch, sources)), flush=True)
        client.flushall()
        dense = links_of(client, 50, 200)
    shown = ", ".join(f"{links:,}: {spent_us:.0f}" for links, spent_us in dense if links in (1_000, 4_000, 10_000))
    print(f"one customer of 250 identifiers, script µs an event by its links: {shown}")


if __name__ == "__main__":
    main()
