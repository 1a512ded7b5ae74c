"""The oracle on triggers: exactly those that the rules give, each delivered once and told so. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import blake2b

from tests.chaos.rig.facts import Facts
from tests.chaos.rig.replay import Replay


def triggers(facts: Facts) -> Iterator[str]:
    """Exactly what the rules say of the logs, under ids that follow from rule, version and moment."""
    replay = Replay(facts.logs).run()
    yield from (f"triggers: the log of {customer} waits for a hand-over that is not there" for customer in replay.stuck)
    wanted = Counter(replay.fired)
    rows = [row for row in facts.records("triggers") if row["event_id"] in facts.plan.messages]
    found = Counter((row["rule"], row["event_id"]) for row in rows)
    for key in wanted.keys() | found.keys():
        if wanted[key] != found[key]:
            yield f"triggers: {key} fired {found[key]} times, expected {wanted[key]}"
    for row in rows:
        parts = "\0".join((row["rule"], row["rule_version"], row["anchor"]))
        if row["trigger_id"] != blake2b(parts.encode(), digest_size=16).hexdigest():
            yield f"triggers: id {row['trigger_id']} does not follow from {row['rule']} and {row['anchor']}"
    tables = Counter(row["trigger_id"] for row in facts.seen.triggers)
    for trigger in tables.keys() ^ {row["trigger_id"] for row in rows}:
        yield f"triggers: {trigger} is in the " + ("tables only" if trigger in tables else "topic only")
    yield from (f"triggers: {trigger} is {n} times in the tables" for trigger, n in tables.items() if n > 1)


def deliveries(facts: Facts) -> Iterator[str]:
    """Every trigger reached its receiver, under one id and with one text, and is told once as delivered."""
    wanted = {row["trigger_id"] for row in facts.records("triggers") if row["event_id"] in facts.plan.messages}
    arrived: defaultdict[str, set[tuple[str, bytes]]] = defaultdict(set)
    for message in facts.seen.received:
        arrived[message.trigger_id].add((message.delivery_id, message.body))
    told = Counter((row["trigger_id"], row["status"]) for row in facts.seen.deliveries)
    records = Counter(row["trigger_id"] for row in facts.records("deliveries"))
    for trigger in wanted:
        if len(arrived[trigger]) != 1:
            yield f"deliveries: {trigger} arrived as {len(arrived[trigger])} different messages"
        if told[trigger, "delivered"] != 1 or records[trigger] != 1:
            statuses = {status: n for (one, status), n in told.items() if one == trigger}
            yield f"deliveries: {trigger} is told as {statuses} in the tables, {records[trigger]} in the topic"
    for trigger in arrived.keys() - wanted:
        yield f"deliveries: {trigger} arrived and is no trigger"
