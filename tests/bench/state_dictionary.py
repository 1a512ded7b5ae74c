"""The dictionary that profile packs states with: `python -m tests.bench.state_dictionary FILE`; says what it is worth.

It is made of states of the speed bench's traffic and of the customers of state_bytes, some of whom merge, looked at up
to 400 days later, so that the common tags and stages are among them. Every population lives at another time: what knows
this year's days would be worth less in the next. What it saves is measured of others. It knows the version of the
catalogue that it was made under: under another one a state takes 20 bytes more. A new dictionary needs another first
byte in services/profile/states.py and a file of its own; the old one stays.
"""

import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from cli.bench.workload import Workload
from services.chassis.records import Decision, Record
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger, FakeServer
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge
from services.profile.adapters import load_config
from services.profile.handler import ProfileHandler
from services.profile.states import Packer
from tests.bench import profile_speed
from tests.bench.profile_speed import CUTS, PARTITIONS, TOPIC
from tests.bench.state_bytes import DAY_MS, NOW_MS, messages

BYTES, POPULATIONS, CUSTOMERS = 4_096, 90, 30
MIX = ("known", "known", "visitor", "reader")
COUNTS = (2, 5, 10, 20, 50, 50, 50, 100, 200)
LATER_DAYS = (0, 0, 14, 31, 75, 130, 400)
CONFIG = load_config("deploy/config/profile.yaml", "deploy/config/tags.yaml", "Asia/Shanghai")


class Feed(profile_speed.Feed):
    """As the speed bench's, of any source at any time, with offsets as after months."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(0)
        self._chance = chance
        self._offsets = [chance.randrange(10 ** chance.randint(3, 9)) for _ in self._offsets]
        self._source = Source(chance.choice(("shop", "app", "web", "pos", "crm", "tmall")))

    def people(self, now_ms: int) -> Iterator[Record]:
        """A year of the customers of state_bytes."""
        for customer in self._chance.sample(range(100_000), CUSTOMERS):
            for message in messages(customer, self._chance.choice(COUNTS), self._chance.choice(MIX), now_ms):
                yield from self._of(message, now_ms)

    def traffic(self, now_ms: int) -> Iterator[Record]:
        """The speed bench's traffic, as of some months."""
        bodies = Workload(self._chance.randrange(1 << 30), "bench").batches()
        for number, body in enumerate(islice(bodies, 8)):
            for raw in msgspec.json.decode(body, type=dict[str, list[msgspec.Raw]])["batch"]:
                yield from self._of(raw, now_ms - (8 - number) * 20 * DAY_MS)

    def _of(self, message: dict[str, Any] | msgspec.Raw, at_ms: int) -> Iterator[Record]:
        raw = bytes(message) if isinstance(message, msgspec.Raw) else msgspec.json.encode(message)
        verdict = judge(raw, Arrival(self._source, at_ms, is_import=isinstance(message, dict)), str)
        if isinstance(verdict, Accepted):
            yield from self._resolved(msgspec.structs.asdict(verdict.touchpoint))


def population(seed: int) -> list[bytes]:
    """The states of some customers, encoded but not packed."""
    chance = random.Random(seed)
    now_ms = NOW_MS + chance.randrange(-3 * 365, 7 * 365) * DAY_MS
    feed = Feed(chance)
    records = list(feed.traffic(now_ms) if seed % 6 == 0 else feed.people(now_ms))
    server, packer, found = FakeServer(), Packer(), list[bytes]()
    ledger = FakeLedger(server)
    for number in range(PARTITIONS):
        claim = ledger.claim(Slot("profile", number), TOPIC, "cluster", "topic", 0)
        handler = ProfileHandler(claim.slot, ledger, claim.waits, CONFIG, PARTITIONS, lambda: CUTS, 10_000)
        mine = [record for record in records if record.partition == number]
        states: dict[str, bytes] = {}
        for some, ticks, at_ms in ((mine, [], now_ms), ([], states, now_ms + chance.choice(LATER_DAYS) * DAY_MS)):
            decision = handler.decide(some, list(ticks), at_ms) or Decision()
            own = {key: value for key, value in decision.sets.items() if ":c:" in key}
            states |= {key.rpartition(":")[2]: packer.unpack(value) for key, value in own.items()}
        found += states.values()
    return found


def main() -> None:
    """Make it, write it, and print what it saves."""
    populations = [population(seed) for seed in range(POPULATIONS)]
    seen, unseen = populations[: POPULATIONS * 2 // 3], populations[POPULATIONS * 2 // 3 :]
    samples = [state for states in seen for state in states]
    made = zstandard.train_dictionary(BYTES, samples)
    Path(sys.argv[1]).write_bytes(made.as_bytes())
    print(f"{len(made)} bytes, of {len(samples)} states; what it makes of others:")
    pack = Packer(made.as_bytes()).pack
    for name, states in (("people", [states for n, states in enumerate(unseen) if n % 6]), ("traffic", unseen[::6])):
        plain = [state for some in states for state in some]
        before, after = sum(map(len, plain)), sum(len(pack(state)) for state in plain)
        print(f"{name:<8}{len(plain):>7} states, {before / len(plain):7.0f} B packed to {after / len(plain):.0f} B")


if __name__ == "__main__":
    main()
