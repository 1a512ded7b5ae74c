"""The verdict on one seed: what senders were told, against everything the system shows. Pure, no product code.

It knows what was sent and what became of every attempt; which of the unknown ones are in, it takes from the tables, and
then demands that everything else agrees with that. Every difference is one line that names what is wrong.
"""

from collections.abc import Callable, Iterator

from tests.chaos.rig import oracle_customers, oracle_events, oracle_triggers
from tests.chaos.rig.facts import Facts
from tests.chaos.rig.journal import ACKED, REFUSED, Journal
from tests.chaos.rig.observation import Observation
from tests.chaos.rig.workload import Plan

MOST = 8  # lines of one kind; the rest is counted
CHECKS: tuple[Callable[[Facts], Iterator[str]], ...] = (
    oracle_events.events,
    oracle_events.resolved,
    oracle_events.rejected,
    oracle_events.dead_letters,
    oracle_events.channels,
    oracle_events.duplicates,
    oracle_customers.logs,
    oracle_customers.merges,
    oracle_customers.partition,
    oracle_customers.customers,
    oracle_customers.profiles,
    oracle_customers.graph,
    oracle_triggers.triggers,
    oracle_triggers.deliveries,
)


def differences(plan: Plan, journal: Journal, seen: Observation) -> list[str]:
    """Everything that is wrong, by kind, at most MOST lines of a kind; empty: nothing lost, nothing doubled."""
    facts, found = Facts(plan, journal, seen), []
    for check in CHECKS:
        lines = list(check(facts))
        found += lines[:MOST]
        if len(lines) > MOST:
            found.append(f"… and {len(lines) - MOST} more of this kind")
    return found


def unknown(plan: Plan, journal: Journal) -> list[str]:
    """Events that were sent and never answered for."""
    sent = (event for event in plan.messages if journal.attempts[event])
    return [event for event in sent if journal.status(event) not in (ACKED, REFUSED)]
