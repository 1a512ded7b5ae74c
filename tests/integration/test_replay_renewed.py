"""`touchstream identity replay` where identifiers were taken over and expired: requests mean whom they meant then."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from services.identity.adapters import current_homes
from tests.integration.test_identity_history import ANNA, BERT, LAPTOP, PHONE, TABLET, VISITOR, World
from tests.integration.test_identity_replay import (
    OTHER_PHONE,
    WATCH,
    asks,
    database,
    live,
    policies,
    told,
    world,
)

__all__ = ["database", "policies", "world"]


def erased_after_a_takeover(world: World) -> None:
    world.happens("event", PHONE)
    world.happens("event", ANNA, PHONE)
    assert world.happens("event", BERT, PHONE, verified=("phone",)) == ["moved", "linked"]
    world.happens("event", PHONE)
    assert world.happens("erase", ANNA) == ["erased"]


def erased_who_took_over(world: World) -> None:
    world.happens("event", ANNA, PHONE)
    assert world.happens("event", BERT, PHONE, verified=("phone",)) == ["moved", "linked"]
    assert world.happens("erase", PHONE) == ["erased"]
    world.happens("event", ANNA, LAPTOP)


def erased_after_an_expiry(world: World) -> None:
    world.happens("event", VISITOR)
    world.happens("event", ANNA, VISITOR)
    assert world.happens("event", VISITOR, days_later=5) == ["expired", "linked"]
    world.happens("event", BERT, VISITOR, LAPTOP)
    assert world.happens("erase", ANNA) == ["erased"]


def unlinked_after_a_takeover(world: World) -> None:
    world.happens("event", LAPTOP)
    world.happens("event", ANNA, LAPTOP)
    world.happens("event", ANNA, PHONE)
    world.happens("event", BERT, PHONE, verified=("phone",))
    assert world.happens("unlink", ANNA) == ["split", "split"]


def corrected_after_an_expiry(world: World) -> None:
    """Links, refusals and unlinks of one and of two name an identifier that has its second and its third node."""
    world.happens("event", ANNA, VISITOR)
    world.happens("event", BERT, VISITOR, days_later=5)
    world.happens("event", VISITOR, LAPTOP)
    world.happens("refuse", VISITOR, ANNA)
    assert world.happens("unlink", VISITOR, LAPTOP, is_pair=True) == ["unlinked", "split"]
    assert world.happens("link", VISITOR, TABLET) == ["linked"]
    assert world.happens("event", VISITOR, WATCH, days_later=4) == ["expired", "linked"]
    assert world.happens("link", VISITOR, ANNA) == ["merged", "linked"]
    world.happens("event", VISITOR, OTHER_PHONE)
    assert world.happens("unlink", VISITOR) == ["split", "split", "split"]


def corrected_by_somebody_called_replay(world: World) -> None:
    world.happens("event", ANNA)
    world.happens("event", LAPTOP)
    world.happens("link", ANNA, LAPTOP, author="replay")


STORIES: list[Callable[[World], None]] = [
    erased_after_a_takeover, erased_who_took_over, erased_after_an_expiry, unlinked_after_a_takeover,
    corrected_after_an_expiry, corrected_by_somebody_called_replay,
]  # fmt: skip


def is_nothing_otherwise(report: dict[str, Any]) -> None:
    assert report["customers_now"] == report["customers_then"]
    for key in ("would_merge", "would_part"):
        assert report[key] == {"customers": 0, "into": 0, "examples": []}
    for key in ("left_out", "newly_known"):
        assert report[key] == {"identifiers": 0, "examples": []}
    assert report["refusals_gone"]["count"] == report["refusals_new"]["count"] == 0


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_under_the_policy_in_force_nothing_is_otherwise_and_nobody_is_touched(
    world: World, monkeypatch: pytest.MonkeyPatch, story: Callable[[World], None]
) -> None:
    story(world)
    asks(monkeypatch, world)
    before = live(world)
    report = told("--apply", "--yes")
    is_nothing_otherwise(report)
    assert report["requests_left_out"] == 0
    assert "applied" not in report
    assert live(world) == before


def somebodys(world: World, identifiers: Sequence[str]) -> list[str]:
    """Those of them that are a customer's now: that anything else was erased is told nowhere."""
    homes = current_homes(world.lab.client, [world.lab.encode(one) for one in identifiers])
    return [one for one, home in zip(identifiers, homes, strict=True) if home and home.customer]


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_whatever_happens_the_policy_in_force_decides_it_alike(world: World, seed: int) -> None:
    dice, kinds = random.Random(seed), set[str]()
    users, phones = (ANNA, BERT, "user_id:carl-5555-6666", "user_id:dora-7777-8888"), (PHONE, OTHER_PHONE)
    visitors, devices = [f"anonymous_id:visitor-{i}" for i in range(3)], (LAPTOP, TABLET, WATCH)
    world.is_looked_at = False
    for _ in range(80):
        world.days += dice.choice((0, 0, 0, 0, 1, 3))
        pair = dice.choice(users), dice.choice((*phones, *visitors, *visitors, *devices))
        what = dice.random()
        if what < 0.7:
            ids = pair if dice.random() < 0.7 else pair[1:]
            verified = ("phone",) if dice.random() < 0.6 else ()
            kinds.update(world.happens("event", *ids, verified=verified))
        elif what < 0.98:
            kind, is_pair = dice.choice((("unlink", False), ("unlink", True), ("link", False), ("refuse", False)))
            kinds.update(world.happens(kind, *(pair if is_pair else pair[::-1]), is_pair=is_pair))
        elif known := somebodys(world, (*users, *phones, *visitors, *devices)):
            kinds.update(world.happens("erase", dice.choice(known)))
    assert {"moved", "expired", "split", "erased", "linked"} <= kinds
    world.agrees()
    is_nothing_otherwise(told())
