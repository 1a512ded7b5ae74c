"""µs per call of profile's decisions and bytes per customer, for customers of one and three parts.

Run: python -m tests.bench.profile_core. A figure is the best of sixty rounds of 200 calls, on one core.
"""

import gc
import random
from timeit import repeat

from services.profile.adapters import load_config
from services.profile.core.config import ProfileConfig
from services.profile.core.fold import fold
from services.profile.core.judgement import judgement
from services.profile.core.rfm import score
from services.profile.core.state import Event, Part, Thresholds, encode
from services.profile.core.summary import profile_json, snapshot_fields
from services.profile.core.tagging.facts import Facts
from services.profile.core.tags import conclude
from services.profile.core.timers import next_due_ms, untils_ms
from services.profile.core.view import view
from tests.unit.profile.profile_builders import decode_part

DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000
NAMES = ["Product Viewed"] * 20 + ["Page Viewed"] * 12 + ["Product Added", "Cart Viewed", "Logged In", "Coupon Applied"]
NAMES += ["Order Completed"] * 5 + ["Message Opened", "Service Ticket Opened", "Content Shared", "Product Searched"]
NAMES += ["Checkout Started", "Order Refunded", "Registered", "Identified", "Logged In"]
CUTS = Thresholds(7, 1000, (20, 60, 120, 200), (1, 2, 3, 5), (1_000, 5_000, 20_000, 80_000), 13, 90_000)


def events(count: int, seed: int) -> list[Event]:
    """A typical customer: visits on some thirty days of a year, five orders, one refund."""
    rng = random.Random(seed)
    days = rng.sample(range(1, 360), 30)
    made = []
    for i in range(count):
        name = NAMES[i % len(NAMES)]
        made.append(
            Event(
                event_id=f"{seed:04x}{i:08x}-aaaa-4bbb-8ccc-123456789abc",
                type="identify" if name == "Identified" else "track",
                name=name,
                source="shop-web",
                place=f"1.3.{100_000 + i}",
                occurred_at=NOW_MS - rng.choice(days) * DAY_MS + rng.randrange(DAY_MS),
                order_id=f"SO-{seed}-{i:06d}" if name.startswith("Order") else "",
                amount_minor=rng.randrange(1_000, 90_000) if name.startswith("Order") else 0,
                currency="CNY" if name.startswith("Order") else "",
                traits={"name": "Li Lei", "city": "330100", "gender": "m", "level": 3} if name == "Identified" else {},
                identifiers=("user_id:u-12****89", "phone:+86138****5678", "anonymous_id:5f0c****9a1b"),
            )
        )
    rng.shuffle(made)
    return made


def customer(parts: int, count: int, config: ProfileConfig) -> list[Part]:
    """`count` events folded into `parts` parts."""
    folded: list[Part | None] = [None] * parts
    for i, event in enumerate(events(count, parts)):
        folded[i % parts] = fold(folded[i % parts], event, config)
    return [part for part in folded if part is not None]


def measure(label: str, parts: list[Part], config: ProfileConfig) -> None:
    judged = judgement(tuple(parts), NOW_MS, CUTS, config)
    v, rfm = judged.seen, judged.rfm
    conclusion, _ = conclude(judged.facts, [], "1.0.1", NOW_MS, config)
    more = [event for event in events(100, 99) if event.name in ("Product Viewed", "Page Viewed", "Logged In")] * 5
    more = more[:200]

    def all_of_it() -> None:
        held = conclusion
        mine = [decode_part(encode(parts[0])), *parts[1:]]
        for event in more:
            fold(mine[0], event, config)
            facts = judgement(tuple(mine), NOW_MS, CUTS, config).facts
            held, _ = conclude(facts, [held], event.place, event.occurred_at, config)

    sizes = [len(encode(part)) for part in parts]
    print(
        f"{label}: parts {sizes} + conclusion {len(encode(conclusion))} = {sum(sizes) + len(encode(conclusion))} bytes"
    )
    print(f"  tags {sorted(conclusion.tags)}, stage {conclusion.stage}")
    data = encode(parts[0])
    copies = [decode_part(data) for _ in range(5)]
    calls = {
        "fold": lambda: [fold(copies[0], event, config) for event in more],
        "view": lambda: [view(parts, NOW_MS, config) for _ in range(200)],
        "score": lambda: [score(v, CUTS, config) for _ in range(200)],
        "conclude": lambda: [
            conclude(Facts(v, rfm, CUTS, config), [conclusion], "1.0.1", NOW_MS, config) for _ in range(200)
        ],
        "next_due_ms": lambda: [next_due_ms(Facts(v, rfm, CUTS, config), config) for _ in range(200)],
        "untils_ms": lambda: [untils_ms(judged.facts.anew(v), conclusion, config) for _ in range(200)],
        "profile_json": lambda: [profile_json("c", v, conclusion, rfm) for _ in range(200)],
        "snapshot_fields": lambda: [snapshot_fields(v, conclusion, rfm) for _ in range(200)],
        "encode part": lambda: [encode(parts[0]) for _ in range(200)],
        "decode part": lambda: [decode_part(data) for _ in range(200)],
        "fold+view+score+conclude": all_of_it,
    }
    for name, call in calls.items():
        print(f"  {name:26}{min(repeat(call, number=1, repeat=60)) / 200 * 1e6:8.2f} µs")


def main() -> None:
    """Print the figures."""
    gc.disable()
    config = load_config("deploy/config/profile.yaml", "deploy/config/tags.yaml", "Asia/Shanghai")
    measure("1 part, 50 events", customer(1, 50, config), config)
    measure("3 parts, 50 events", customer(3, 50, config), config)
    measure("1 part, 5,000 events", customer(1, 5_000, config), config)


if __name__ == "__main__":
    main()
