"""Which mutations the simulator must find, under which configuration, within how many seeds."""

from dataclasses import dataclass

from services.chassis.kafka import line, relay
from services.rules import adapters as rules_adapters
from tests.property.customer_log import customer_mutants as customers
from tests.property.ledger import ledger_mutants as ledgers
from tests.property.simulator import mutations as m
from tests.property.simulator.configurations import CONFIGURATIONS
from tests.property.simulator.mutations import Mutation, attribute, ledger, script
from tests.property.simulator.pipeline import fast
from tests.property.simulator.run import run
from tests.property.simulator.workload import Config, plan_of

MERGES, SPLITS = CONFIGURATIONS["merge storm"], CONFIGURATIONS["split storm"]
ERASURES, REPEATS = CONFIGURATIONS["erase storm"], CONFIGURATIONS["client duplicates"]
FAULTS, SENDS = CONFIGURATIONS["many faults"], CONFIGURATIONS["lost sends"]
# Nothing to do but timers, while owners change: what moves no position is guarded by the epoch alone.
TIMERS = Config(
    ages=True, partitions=2, identifiers=4, events=6, faults=(20, 40), only=("zombie", "zombie", "days"),
    lost_sends=(1, 4), points=600, minutes=(60, 90),
)  # fmt: skip
ANSWERS, POISON = CONFIGURATIONS["lost answers"], CONFIGURATIONS["poison"]


@dataclass(frozen=True)
class Mutant:
    """A mutation, the configuration that meets it, and how many seeds it may take to be found."""

    mutation: Mutation
    config: Config
    seeds: int = 150
    first: int = 1  # where the seeds begin: a rare coincidence is looked for where it was once seen


MUTANTS: dict[str, Mutant] = {
    "no fence": Mutant(script("ledger.lua", "if m[1] ~= epoch then return 'FENCED' end", ""), TIMERS),
    "no batch ids": Mutant(script("ledger.lua", "if m[2] == batch then return 'ALREADY' end", ""), ANSWERS),
    "late copies count": Mutant(
        script("ledger.lua", "if of == epoch and tonumber(", "if false and of == epoch and tonumber("), ANSWERS, 400
    ),
    "no outbox": Mutant(
        script("ledger.lua", "if entry ~= '' then redis.call('RPUSH'", "if false then redis.call('RPUSH'"), FAULTS
    ),
    "trims at once": Mutant(ledger(ledgers.TrimsAtOnce), FAULTS),
    "position apart from state": Mutant(ledger(ledgers.MovesThePositionApart), FAULTS),
    "numbers are used again": Mutant(ledger(ledgers.ReusesNumbers), FAULTS),
    "what was taken is forgotten": Mutant(ledger(ledgers.ForgetsSeen), FAULTS),
    "nothing is sent for a former owner": Mutant(ledger(ledgers.RelaysNothingOfOthers), FAULTS),
    "waits in memory": Mutant(ledger(ledgers.ForgetsWaits), MERGES),
    "a give is deleted early": Mutant(ledger(ledgers.DeletesEarly), MERGES),
    "no look at the epoch when idle": Mutant(ledger(m.NeverLooks), TIMERS, 300, 110),
    "timers first": Mutant(ledger(m.PopsTimersFirst), TIMERS),
    "the relay goes on after a failure": Mutant(attribute(relay, "Relay", ledgers.GoesOnAfterAFailure), SENDS),
    "duplicates are taken": Mutant(attribute(line, "accept", m.takes_everything), SENDS),
    "a record is lost": Mutant(lambda: m.loses_a_record("touchpoints.resolved"), CONFIGURATIONS["calm"]),
    "a record is lost, numbers unseen": Mutant(
        lambda: m.loses_a_record("profile.changes", notices=False), CONFIGURATIONS["calm"]
    ),
    "one event is dropped": Mutant(lambda: m.writes_events(m.drops_one), CONFIGURATIONS["large batches"]),
    "one event is doubled": Mutant(lambda: m.writes_events(m.doubles_one), CONFIGURATIONS["large batches"]),
    "message ids outside the script": Mutant(m.remembers_messages_apart, FAULTS),
    "message ids by partition": Mutant(
        script(
            "resolve.lua",
            "  local ids = {}\n  at = first",
            "  message = message .. partition\n  local ids = {}\n  at = first",
        ),
        REPEATS,
    ),
    "no message ids": Mutant(script("resolve.lua", "elseif seen_at[e.message] and", "elseif false and"), REPEATS),
    "message ids for ever": Mutant(
        script("resolve.lua", "seen_at[e.message] > e.log_ms - policy.window_ms", "true"), REPEATS
    ),
    "message ids purged by the newest clock": Mutant(script("purge.lua", "math.min(", "math.max("), REPEATS, 400),
    "no tombstones": Mutant(
        script(
            "resolve.lua",
            "  sets[place + 1], sets[place + 2] = prefix .. id, c\n  place = place + 2\n",
            "  if sub(c, 1, 1) == '-' then dels[#dels + 1] = prefix .. id else"
            " sets[place + 1], sets[place + 2], place = prefix .. id, c, place + 2 end\n",
        ),
        ERASURES,
    ),
    "customer ids are used again": Mutant(script("resolve.lua", "births[id] = birth", "birth = 0"), SPLITS),
    "hand-overs by the client's id": Mutant(m.names_hand_overs_by_client, REPEATS),
    "nothing is held back": Mutant(customers.holds_nothing_back, MERGES),
    "a take does not wait": Mutant(customers.never_waits, MERGES),
    "held in memory": Mutant(m.holds_in_memory, MERGES),
    "the other side's tags are forgotten": Mutant(customers.forgets_what_the_other_side_held, MERGES),
    "a cache is kept across claims": Mutant(m.keeps_its_cache, FAULTS),
    "poison is skipped": Mutant(customers.skips_poison, POISON),
    "timers are left": Mutant(customers.leaves_timers, MERGES),
    "hand-overs are left": Mutant(customers.leaves_hand_overs, MERGES),
    "the incomplete are judged": Mutant(customers.concludes_of_the_incomplete, CONFIGURATIONS["days pass"]),
    "nobody is looked at twice": Mutant(customers.looks_at_nobody_twice, CONFIGURATIONS["large batches"]),
    "anchors by the client's id": Mutant(m.anchors_by_client, REPEATS),
    "rules hand nothing over": Mutant(m.rules_hand_nothing_over, MERGES),
    "rules do not wait": Mutant(m.rules_never_wait, SPLITS, 400),
    "random trigger ids": Mutant(attribute(rules_adapters, "stable_id", m.random_id), CONFIGURATIONS["calm"]),
}


def seeds_until_found(mutant: Mutant, skipped: int = 0) -> int | None:
    """How many seeds, after those that are skipped, until one fails; None when none of those allowed does."""
    with fast(), mutant.mutation():
        for count in range(1, mutant.seeds + 1):
            if run(plan_of(mutant.config, mutant.first + skipped + count - 1)).wrong:
                return count
    return None
