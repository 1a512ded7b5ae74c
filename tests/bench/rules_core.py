"""What rules costs per change: `python -m tests.bench.rules_core`. Best of five runs, µs per change, one core."""

import json
import timeit
from collections.abc import Callable
from zoneinfo import ZoneInfo

from services.chassis.avro import Codec
from services.chassis.records import Record
from services.chassis.redis.slots import Slot
from services.rules.adapters import Wire
from services.rules.core.evaluate import RuleIndex, evaluate
from services.rules.core.syntax import parse_rules
from services.rules.handler import RulesHandler

ZONE = ZoneInfo("Asia/Shanghai")
CUSTOMER = "e1407479-3136-56c0-9908-bb02fb0339e2"
RULES = {
    "plain": b"rule: plain\nwhen: {event: Order Completed}\nthen: [{email: {template: t}}]",
    "limited": b"rule: limited\nwhen: {event: Logged In}\nlimits: {cooldown: 1d}\nthen: [{email: {template: t}}]",
    "cel": b"rule: cel\nwhen: {event: Cart Viewed}\n"
    b"if: 'profile.rfm.m >= 6 && \"vip\" in profile.tags'\nthen: [{email: {template: t}}]",
}
PROFILE = {
    "customer_id": CUSTOMER,
    "traits": {"name": "王芳", "email": "wang.fang@example.cn", "province": "110000"},
    "tags": {name: {"since": 1_750_000_000_000, "reason": "because"} for name in ("vip", "loyal", "newcomer")},
    "stage": "loyal",
    "rfm": {"recency_days": 1, "frequency": 7, "monetary_minor": 129_900, "r": 5, "f": 4, "m": 4},
    "counts": dict.fromkeys(("Page Viewed", "Cart Viewed", "Order Completed", "Logged In"), 3),
    "first_seen": 1_740_000_000_000,
    "last_seen": 1_750_000_000_000,
}


class Nothing:
    """A store without any state."""

    def get_many(self, keys: list[str]) -> list[bytes | None]:
        """None for every key."""
        return [None] * len(keys)


def record(name: str, header: bool = True) -> Record:
    """One change of that event name, as profile writes it."""
    value = Codec("profile_change").encode(
        {
            "customer_id": CUSTOMER, "kind": "event", "cause": "0.2.18", "event_id": "0197b2f0", "source": "shop-web",
            "type": "track", "name": name, "node": "user_id:dd53ab8e98597fb74debe4d0df63179f",
            "occurred_at": 1_750_000_000_000, "accepted_at": 1_750_000_000_000, "changed_at": 1_750_000_000_020,
            "stage_from": "loyal", "stage_to": "loyal", "profile": json.dumps(PROFILE).encode(), "properties": b"{}",
        }
    )  # fmt: skip
    headers = {"when": f"{name}\x1f".encode()} if header else {}
    return Record("profile.changes", 0, 0, CUSTOMER.encode(), value, headers, 1_750_000_000_030)


def best_us(call: Callable[[], object], changes: int) -> float:
    """µs per change of the best of five runs of about 10,000 changes."""
    number = 10_000 // changes
    return min(timeit.repeat(call, number=number, repeat=5)) / number / changes * 1e6


def main() -> None:
    """Print one line per path: the whole handler (a batch of 500), then core alone."""
    index, wire = RuleIndex(parse_rules(RULES), ZONE), Wire("", 4)
    handler = RulesHandler(Slot("rules", 0), Nothing(), {}, lambda: index, wire)
    for label, name, header in (
        ("not named by any rule, header", "Page Viewed", True),
        ("not named by any rule, no header (decoded)", "Page Viewed", False),
        ("named, no `if`, no limits (fires)", "Order Completed", True),
        ("named, no `if`, cooldown (fires, state)", "Logged In", True),
        ("named, CEL (does not hold)", "Cart Viewed", True),
    ):
        batch = [record(name, header)] * 500
        print(f"{best_us(lambda batch=batch: handler.decide(batch, [], 1), 500):8.2f} µs  handler: {label}")
        change = wire.read_change(batch[0].value)
        rules = index.candidates(change)
        if rules:
            print(f"{best_us(lambda c=change, r=rules: evaluate({}, c, r, ZONE), 1):8.2f} µs  core:    {label}")
        else:
            print(f"{best_us(lambda c=change: index.candidates(c), 1):8.2f} µs  core:    {label}")


if __name__ == "__main__":
    main()
