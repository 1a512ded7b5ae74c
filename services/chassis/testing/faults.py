"""What can go wrong in an Interleaving: each function is what one kind of Fault does to the process at a point."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import redis

from services.chassis.testing.fake_kafka import SendFailure
from services.chassis.testing.simulation import Crash, Plan

if TYPE_CHECKING:
    from services.chassis.testing.interleaving import Interleaving, Runner


@dataclass(frozen=True)
class Fault:
    """What strikes at a point. `delay`: points until it is over; `dice`: seeds what else is random about it."""

    at: int
    kind: str
    delay: int = 0
    dice: int = 0


def crash(world: Interleaving, one: Runner, fault: Fault, random: Random) -> None:
    raise Crash


def freeze(world: Interleaving, one: Runner, fault: Fault, random: Random) -> None:
    one.stand_still(fault.delay)


def zombie(world: Interleaving, one: Runner, fault: Fault, random: Random) -> None:
    """Its partitions go to others while it stands still; it wakes believing that they are its own."""
    one.is_frozen = True
    places = [place for place, owner in world.broker.owners.items() if owner is one]
    if places:
        world.later(random.choice((0, 0, random.randint(1, 50))), lambda: world.give_away(one.service, places, random))
    if random.random() < 0.4:
        one.plans.append(Plan("", random.randint(1, 12), _die))
    one.stand_still(fault.delay)


def rebalance(world: Interleaving, one: Runner, fault: Fault, random: Random) -> None:
    topic = one.service.config.topic
    world.give_away(one.service, [(topic, number) for number in range(one.service.partitions)], random)


def lose_request(world: Interleaving, one: Runner, fault: Fault, random: Random) -> None:
    """The next script is given up, perhaps also when it is asked for again; the server may read it later."""

    def act() -> None:
        world.late_requests.append(world.asked)
        if random.random() < 0.5:
            world.later(fault.delay, world.arrive)
        raise redis.TimeoutError("no answer")

    for again in range(random.choice((1, 1, 2))):
        one.plans.append(Plan("script before", 1 + again, act))


def lose_answer(world: Interleaving, one: Runner, fault: Fault, random: Random) -> None:
    def act() -> None:
        raise redis.TimeoutError("no answer")

    for again in range(random.choice((1, 1, 2))):
        one.plans.append(Plan("script after", 1 + again, act))


def lose_send(world: Interleaving, one: Runner, fault: Fault, random: Random) -> None:
    """The next message fails, whether or not the broker has it, or will have it."""
    arrives, late = random.random() < 0.5, random.random() < 0.3

    def act() -> None:
        if late:
            world.later(fault.delay, world.arrive)
        raise SendFailure(arrives, late)

    one.plans.append(Plan("deliver", 1, act))


def save(world: Interleaving, one: Runner, fault: Fault, random: Random) -> None:
    """What Redis would come back with."""
    world.saved = world.server.saved()


def roll_back(world: Interleaving, one: Runner, fault: Fault, random: Random) -> None:
    """Redis comes back as it was, for everybody; what it had acknowledged since is lost."""
    world.server.restore(world.saved)
    world.late_requests.clear()


def days(world: Interleaving, one: Runner, fault: Fault, random: Random) -> None:
    """The wall clock moves on, for everybody."""
    world.wall_ms += random.choice((1, 20, 31, 60, 91)) * 86_400_000


def _die() -> None:
    raise Crash


KINDS = {
    act.__name__: act
    for act in (crash, freeze, zombie, rebalance, lose_request, lose_answer, lose_send, save, roll_back, days)
}
