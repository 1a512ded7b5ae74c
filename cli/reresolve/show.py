"""The report of a replay, as text and as JSON; identifiers masked. Only layout."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.history.show import name
from cli.reresolve.apply import Applied
from cli.reresolve.compare import Difference, Refusal
from services.identity.rebuild.again import Outcome

EXAMPLES = 5
MOST_NAMES = 3
Names = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a replay found."""

    policy: str
    outcome: Outcome
    found: Difference
    gone: Sequence[Refusal]  # conflicts and identifiers left out that would be none any more
    new: Sequence[Refusal]
    unordered: int = 0  # touchpoints of a release that did not record the order of its decisions

    def example_nodes(self) -> Iterator[str]:
        """The nodes whose names the report shows."""
        for group in self.found.merges[:EXAMPLES]:
            for nodes in group.values():
                yield from nodes[:MOST_NAMES]
        for sides in list(self.found.parts.values())[:EXAMPLES]:
            for side in sides:
                yield from side[:MOST_NAMES]
        yield from self.found.left_out[:EXAMPLES]
        yield from self.found.new[:EXAMPLES]
        for refusals in (self.gone, self.new):
            for refusal in refusals[:EXAMPLES]:
                yield from refusal[2]


def as_json(report: Report, names: Names) -> dict[str, Any]:
    """One object: counts, and up to EXAMPLES examples of each."""
    found = report.found

    def shown(nodes: Sequence[str]) -> list[str]:
        return [name(node, names) for node in nodes[:MOST_NAMES]]

    return {
        "policy": report.policy, "touchpoints": report.outcome.touchpoints,
        "touchpoints_of_nobody": report.outcome.nobody, "requests_left_out": report.outcome.left_out,
        "touchpoints_unordered": report.unordered,
        "customers_now": found.customers_now, "customers_then": found.customers_then,
        "would_merge": {
            "customers": sum(len(group) for group in found.merges), "into": len(found.merges),
            "examples": [
                [{"customer_id": customer, "identifiers": shown(nodes)} for customer, nodes in group.items()]
                for group in found.merges[:EXAMPLES]
            ],
        },
        "would_part": {
            "customers": len(found.parts), "into": sum(len(sides) for sides in found.parts.values()),
            "examples": [
                {"customer_id": customer, "sides": [shown(side) for side in sides]}
                for customer, sides in list(found.parts.items())[:EXAMPLES]
            ],
        },
        "left_out": {"identifiers": len(found.left_out), "examples": shown(found.left_out)},
        "newly_known": {"identifiers": len(found.new), "examples": shown(found.new)},
        "refusals_gone": _refusals(report.gone, shown), "refusals_new": _refusals(report.new, shown),
    }  # fmt: skip


def _refusals(some: Sequence[Refusal], shown: Callable[[Sequence[str]], list[str]]) -> dict[str, Any]:
    examples = [{"kind": kind, "guard": guard, "identifiers": shown(nodes)} for kind, guard, nodes in some[:EXAMPLES]]
    return {"count": len(some), "examples": examples}


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The report of as_json for people."""
    yield f"{told['touchpoints']:,} touchpoints under {told['policy']}"
    if told["touchpoints_of_nobody"]:
        yield f"  {told['touchpoints_of_nobody']:,} of them would identify nobody"
    if told["requests_left_out"]:
        yield f"  {told['requests_left_out']:,} requests of persons or earlier replays were left out"
    if told["touchpoints_unordered"]:
        yield f"  {told['touchpoints_unordered']:,} in an order that nobody recorded: what depends on it may differ"
    yield f"customers: {told['customers_now']:,} now, {told['customers_then']:,} then"
    merge, part = told["would_merge"], told["would_part"]
    yield f"would merge: {merge['customers']:,} customers into {merge['into']:,}"
    for group in merge["examples"]:
        yield "  " + "  +  ".join(f"{one['customer_id']} ({', '.join(one['identifiers'])})" for one in group)
    yield f"would part: {part['customers']:,} customers into {part['into']:,}"
    for one in part["examples"]:
        yield f"  {one['customer_id']}: " + "  |  ".join(", ".join(side) for side in one["sides"])
    for key, text in (("left_out", "identifiers left out"), ("newly_known", "identifiers newly known")):
        yield f"{text}: {told[key]['identifiers']:,}" + "".join(f"\n  {one}" for one in told[key]["examples"])
    for key, text in (("refusals_gone", "refusals gone"), ("refusals_new", "refusals new")):
        yield f"{text}: {told[key]['count']:,}"
        for one in told[key]["examples"]:
            yield f"  {one['kind']} ({one['guard']}): {', '.join(one['identifiers'])}"


def applied(done: Applied, names: Names) -> dict[str, Any]:
    """What `--apply` did, for JSON."""
    missed = [
        {
            "why": why,
            "count": len(all_),
            "examples": [[name(node, names) for node in nodes] for nodes in all_[:EXAMPLES]],
        }
        for why, all_ in done.missed.items()
    ]
    return {"unlinked": done.unlinked, "linked": done.linked, "missed": missed}


def applied_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    yield f"applied: {told['unlinked']:,} links taken back, {told['linked']:,} made"
    for one in told["missed"]:
        yield f"not reached: {one['count']:,}, {one['why']}"
        for nodes in one["examples"]:
            yield f"  {' and '.join(nodes)}"
