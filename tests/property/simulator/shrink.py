"""A failing plan made smaller: fewer requests, fewer faults, simpler ones, as long as it fails in the same way."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from tests.property.simulator.run import run
from tests.property.simulator.workload import Draft, Plan

T = TypeVar("T")
# A smaller plan runs through other points: it is tried under some other orders of steps too.
ORDERS = 3
MOST_RUNS = 400


def shrink(plan: Plan, most_runs: int = MOST_RUNS) -> Plan:
    """The smallest plan that was found."""
    kind, left = _kind(plan), most_runs
    smaller = True
    while smaller and left > 0:
        smaller = False
        for candidate in _candidates(plan):
            for order in range(ORDERS):
                left -= 1
                tried = replace(candidate, seed=candidate.seed + order * 1_000_003)
                if _kind(tried) == kind:
                    plan, smaller = tried, True
                    break
            if smaller or left <= 0:
                break
    return plan


def _kind(plan: Plan) -> str:
    """In which way it fails; empty when it does not."""
    wrong = run(plan).wrong
    return wrong[0].partition(":")[0] if wrong else ""


def _candidates(plan: Plan) -> Iterator[Plan]:
    for size in (8, 4, 2, 1):
        for drafts in _without(plan.drafts, size):
            yield replace(plan, drafts=drafts)
        for faults in _without(plan.faults, size):
            yield replace(plan, faults=faults)
    if not plan.calm:
        yield replace(plan, calm=True)
    if plan.config.skew_ms or plan.config.sweeps:
        yield replace(plan, config=replace(plan.config, skew_ms=0, sweeps=False))
    if plan.config.batch_most > 1:
        yield replace(plan, config=replace(plan.config, batch_most=1))
    if plan.config.partitions > 1:
        yield replace(plan, config=replace(plan.config, partitions=plan.config.partitions - 1))
    for number, draft in enumerate(plan.drafts):
        for simpler in _simpler(draft):
            yield replace(plan, drafts=(*plan.drafts[:number], simpler, *plan.drafts[number + 1 :]))


def _without(items: tuple[T, ...], size: int) -> Iterator[tuple[T, ...]]:
    if len(items) >= size > 0:
        for at in range(0, len(items), size):
            yield items[:at] + items[at + size :]


def _simpler(draft: Draft) -> Iterator[Draft]:
    if len(draft.ids) > 1:
        yield replace(draft, ids=draft.ids[:1])
    if draft.days or draft.amount > 1 or draft.minutes > 1:
        yield replace(draft, days=0, amount=1, minutes=1)
    if draft.kind in ("garbage", "unreadable"):
        yield replace(draft, kind="event")
