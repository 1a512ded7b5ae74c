"""The faults: begin() breaks something, end() takes it back. Main thread only; both return within a few seconds.

A fault that comes too late (its process is down because of another one) does nothing and says so.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from services.chassis.failpoints import catalogue
from tests.chaos.rig.answers import PRODUCE
from tests.chaos.rig.deployment import Deployment
from tests.chaos.rig.power import Cut, Victim, lose_power
from tests.chaos.rig.processes import REDIS
from tests.chaos.rig.proxy import Proxy
from tests.chaos.rig.release import release_before
from tests.chaos.rig.schedule import Fault

# Steps that come while a process works or starts; the others come in commands, or with troubles of their own.
MOMENTS = ("start", "claim", "work", "timer")
LATENCY_MS, JITTER_MS = (20.0, 300.0), 100.0
Undo = Callable[[], None]


def nothing() -> None:
    """Nothing has to be taken back."""


def begin(deployment: Deployment, fault: Fault) -> tuple[str, Undo]:
    """Inject it. Returns what was done, and what ends it."""
    return _KINDS[fault.kind](deployment, fault, Random(fault.seed))


def _kill(d: Deployment, fault: Fault, random: Random) -> tuple[str, Undo]:
    d.kill(fault.target, keep_up=True)
    return f"kill -9 {fault.target}", nothing


def _term(d: Deployment, fault: Fault, random: Random) -> tuple[str, Undo]:
    d.term(fault.target, keep_up=True)
    return f"SIGTERM {fault.target}", nothing


def _freeze(d: Deployment, fault: Fault, random: Random) -> tuple[str, Undo]:
    target = _broker(d, fault.target, random)
    d.freeze(target)
    return f"SIGSTOP {target}", lambda: d.thaw(target)


def _down(d: Deployment, fault: Fault, random: Random) -> tuple[str, Undo]:
    targets = d.brokers.names if fault.target == "kafka-all" else [_broker(d, fault.target, random)]
    for target in targets:
        d.kill(target)
    return f"kill -9 {', '.join(targets)}", lambda: _start(d, targets)


def _start(d: Deployment, targets: Sequence[str]) -> None:
    for target in targets:
        if not d.is_running(target):
            d.start_again(target)


def _power_loss(d: Deployment, fault: Fault, random: Random) -> tuple[str, Undo]:
    if not d.is_running(REDIS):
        return "power loss: Valkey is down already", nothing
    links = [proxy for (_, backend), proxy in d.links.items() if backend == REDIS]
    victim = Victim(d.settings.redis_url, d.settings.state_dir / "valkey", lambda: d.kill(REDIS))
    cut = random.choice(list(Cut))
    loss = lose_power(victim, links, cut, random)
    said = f"power loss, {cut.name}: {loss.written - loss.kept} of {loss.written - loss.synced} unsynced bytes gone"
    return said, lambda: _start(d, [REDIS])


def _link(do: Callable[[Proxy, Random, str], str]) -> Callable[[Deployment, Fault, Random], tuple[str, Undo]]:
    def inject(d: Deployment, fault: Fault, random: Random) -> tuple[str, Undo]:
        name, _, backend = fault.target.partition(":")
        proxy = d.link(name, backend)
        return f"{fault.target}: {do(proxy, random, backend)}", proxy.heal

    return inject


def _slow(proxy: Proxy, random: Random, backend: str) -> str:
    ms = random.uniform(*LATENCY_MS)
    proxy.delay(ms, JITTER_MS, random.randrange(1 << 30))
    return f"{ms:.0f} ms late each way"


def _cut(proxy: Proxy, random: Random, backend: str) -> str:
    proxy.cut()
    return "reset and refused"


def _tear(proxy: Proxy, random: Random, backend: str) -> str:
    count = random.choice((40, 400, 4_000, 40_000))
    proxy.reset_in(count)
    return f"reset after {count} more bytes"


def _lost_answer(proxy: Proxy, random: Random, backend: str) -> str:
    n = random.choice((1, 2, 5, 20))
    kind = PRODUCE if backend == "kafka" and random.random() < 0.7 else None
    proxy.drop_answer(n, kind)
    return f"the answer number {n} is lost" + (" (produce)" if kind is not None else "")


def _half_open(proxy: Proxy, random: Random, backend: str) -> str:
    proxy.half_open()
    return "half open"


def _house(d: Deployment, fault: Fault, random: Random) -> tuple[str, Undo]:
    count = random.randrange(1, 4)
    do: dict[str, Undo] = {
        "down": d.house.down,
        "refuse": d.house.refuse,
        "break-answers": lambda: d.house.break_answers(count),
        "withhold-answers": lambda: d.house.withhold_answers(count),
    }
    do[fault.target]()
    return f"ClickHouse: {fault.target} ({count})", d.house.heal


def _receiver(d: Deployment, fault: Fault, random: Random) -> tuple[str, Undo]:
    setattr(d.receiver, fault.target, random.randrange(3, 30))
    return f"receiver: {fault.target}", d.receiver.heal


def _failpoint(d: Deployment, fault: Fault, random: Random) -> tuple[str, Undo]:
    service = d.places[fault.target].service
    steps = [point.step for point in catalogue() if service in point.services and point.moment in MOMENTS]
    action = random.choice(("kill", "kill", "kill", "stop", "sleep:3000"))
    armed = f"{service}.{random.choice(steps)}={action}@{random.choice((1, 1, 2, random.randrange(3, 12)))}"
    if d.is_running(fault.target):
        d.kill(fault.target)
    d.start_again(fault.target, {"TOUCHSTREAM_FAILPOINTS": armed})
    life = d.life(fault.target)

    def disarm() -> None:
        d.thaw(fault.target)
        if d.is_running(fault.target) and d.life(fault.target) == life:
            d.kill(fault.target, keep_up=True)  # or it might strike in another seed

    return f"{fault.target}: {armed}", disarm


def _roll(d: Deployment, fault: Fault, random: Random) -> tuple[str, Undo]:
    code = release_before(d.folder.parent)
    names = [name for name, place in d.places.items() if place.service == fault.target]

    def restart(code: Path | None) -> None:
        for name in names:
            if d.is_running(name):
                d.term(name)
            d.start_again(name, code=code)
            d.wait_ready(name)

    restart(code)
    return f"{fault.target} rolled to {code.name}", lambda: restart(None)


def _broker(d: Deployment, target: str, random: Random) -> str:
    """`kafka-any` and `kafka-leader` as the broker they mean now; everything else as it is."""
    if target == "kafka-any":
        return random.choice(d.brokers.names)
    if target == "kafka-leader":
        topic = random.choice(("touchpoints", "touchpoints.resolved", "profile.changes", "triggers"))
        return d.brokers.leader_of(topic, random.randrange(d.partitions)) or d.brokers.names[0]
    return target


_KINDS: dict[str, Callable[[Deployment, Fault, Random], tuple[str, Undo]]] = {
    "kill": _kill,
    "term": _term,
    "freeze": _freeze,
    "down": _down,
    "kill-backend": _down,
    "freeze-backend": _freeze,
    "power-loss": _power_loss,
    "slow": _link(_slow),
    "cut": _link(_cut),
    "tear": _link(_tear),
    "lost-answer": _link(_lost_answer),
    "half-open": _link(_half_open),
    "house": _house,
    "receiver": _receiver,
    "failpoint": _failpoint,
    "roll": _roll,
}
KINDS = frozenset(_KINDS)
