"""What sources report and what goes wrong: a plan made from a seed, as data that can be made smaller."""

from dataclasses import dataclass, field, replace
from random import Random

from services.chassis.testing.faults import Fault
from tests.property.identity.graph_lab import name_customer

NAMES = ("Order Completed", "Order Completed", "Page Viewed", "Page Viewed", "Registered", "Order Refunded")
DAYS = (0, 0, 0, 0, 1, 35, 95, 185)
# How often each kind of fault is planned, of 100; what is left is zombies and crashes.
FREEZES, REBALANCES, LOST_REQUESTS, LOST_ANSWERS = 0.12, 0.10, 0.08, 0.08


@dataclass(frozen=True)
class Config:
    """One configuration: the shape of the deployment, of the workload, and how often what goes wrong."""

    partitions: int = 3
    processes: int = 2
    batch_most: int = 4
    events: int = 30
    identifiers: int = 7
    link: float = 0.35
    unlink: float = 0.04
    erase: float = 0.02
    person: float = 0.04  # somebody says that two identifiers are one customer's, or that they are not
    repeat: float = 0.06  # a client sends a message again, to the same partition
    repeat_elsewhere: float = 0.0  # … under another primary identifier
    window_h: int = 10_000
    minutes: tuple[int, int] = (1, 6)
    garbage: float = 0.03  # bytes that identity cannot read, or traits that profile cannot
    limits: bool = False  # identifier kinds with limits, public keys
    guards: bool = False  # every guard there is, all met often
    faults: tuple[int, int] = (2, 8)
    zombies: float = 0.55
    only: tuple[str, ...] = ()  # of the faults only these
    lost_sends: tuple[int, int] = (0, 1)
    ages: bool = False  # days pass while everything runs
    skew_ms: int = 0
    sweeps: bool = False  # new thresholds: every customer is looked at
    rolls_back: bool = False
    late_commits: bool = False
    pure_lua: bool = False  # also claim.lua and apply.lua run in Lua
    points: int = 900  # about how many a run has: where faults are planned


@dataclass(frozen=True)
class Draft:
    """One request to ingest, `at` a point, some minutes after the one before. kind: event, unlink, erase, link, refuse,
    release, garbage (no touchpoint at all) or unreadable (its traits are no JSON object)."""

    kind: str
    ids: tuple[str, ...]
    message: str
    at: int
    minutes: int
    name: str = "Page Viewed"
    days: int = 0
    amount: int = 0
    is_public: bool = False
    is_verified: bool = False  # the phone, says the source


@dataclass(frozen=True)
class Plan:
    """Everything a run depends on."""

    config: Config
    seed: int
    drafts: tuple[Draft, ...]
    faults: tuple[Fault, ...]
    calm: bool = field(default=False)


def plan_of(config: Config, seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(seed)
    return Plan(config, seed, tuple(_drafts(config, random)), tuple(_faults(config, random)))


def identifiers(config: Config) -> list[str]:
    """Those that occur; without limits one kind of them."""
    if not config.limits and not config.guards:
        return [f"device_id:{number}" for number in range(config.identifiers)]
    kinds = ("user_id", "phone", "device_id", "anonymous_id") + (("card",) if config.guards else ())
    return [f"{kinds[number % len(kinds)]}:{number // len(kinds)}" for number in range(config.identifiers)]


def _drafts(config: Config, random: Random) -> list[Draft]:
    ids, drafts, at = identifiers(config), list[Draft](), 0
    spread = config.points * 6 // 10 // config.events
    for number in range(config.events):
        at += random.randint(0, 2 * spread)
        minutes, dice = random.randint(*config.minutes), random.random()
        past = [draft for draft in drafts[-8:] if draft.kind == "event"]
        if past and dice < config.repeat + config.repeat_elsewhere:
            again = random.choice(past)
            if dice < config.repeat_elsewhere:
                again = replace(again, ids=again.ids[1:] + again.ids[:1])
            drafts.append(replace(again, at=at, minutes=minutes))
        elif dice > 1 - config.unlink - config.erase:
            kind = "unlink" if dice > 1 - config.unlink else "erase"
            drafts.append(Draft(kind, (random.choice(ids),), f"m{number}", at, minutes))
        elif dice > 1 - config.unlink - config.erase - config.person:
            kind = random.choice(("link", "link", "refuse", "release") if config.guards else ("link", "link", "refuse"))
            named = tuple(random.sample(ids, 2))
            if kind == "release":
                named = (f"customer:{name_customer(named[0], 0)}",)
            drafts.append(Draft(kind, named, f"m{number}", at, minutes))
        else:
            drafts.append(_event(config, random, ids, number, at, minutes))
    return drafts


def _event(config: Config, random: Random, ids: list[str], number: int, at: int, minutes: int) -> Draft:
    count = random.choice((2, 2, 2, 3)) if random.random() < config.link else 1
    kind = "event"
    if random.random() < config.garbage:
        kind = random.choice(("garbage", "unreadable"))
    return Draft(
        kind, tuple(random.sample(ids, count)), f"m{number}", at, minutes, random.choice(NAMES), random.choice(DAYS),
        random.randint(1, 4_000), (config.limits or config.guards) and random.random() < 0.3,
        config.guards and random.random() < 0.4,
    )  # fmt: skip


def _faults(config: Config, random: Random) -> list[Fault]:
    count = random.randint(*config.faults) if config.faults[1] else 0
    found = [_fault(config, random) for _ in range(count)]
    found += [_at("lose_send", config, random) for _ in range(random.randint(*config.lost_sends))]
    if config.ages:
        found += [_at("days", config, random) for _ in range(random.randint(1, 4))]
    if config.rolls_back:
        back = _at("roll_back", config, random)
        found += [back, Fault(max(1, back.at - back.delay), "save")]
    return sorted(found, key=lambda fault: fault.at)


def _fault(config: Config, random: Random) -> Fault:
    if config.only:
        return _at(random.choice(config.only), config, random)
    dice = random.random()
    for kind, share in (
        ("freeze", FREEZES), ("rebalance", REBALANCES), ("lose_request", LOST_REQUESTS), ("lose_answer", LOST_ANSWERS),
    ):  # fmt: skip
        dice -= share
        if dice < 0:
            return _at(kind, config, random)
    return _at("zombie" if random.random() < config.zombies else "crash", config, random)


def _at(kind: str, config: Config, random: Random) -> Fault:
    return Fault(random.randint(1, config.points), kind, random.randint(10, 300), random.getrandbits(30))
