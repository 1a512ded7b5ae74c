"""The oracle on events: acknowledged ones once, refused ones kept, nothing doubled on the way. Pure."""

import json
from collections import Counter
from collections.abc import Iterator

from tests.chaos.rig.facts import Facts
from tests.chaos.rig.journal import ACKED, REFUSED
from tests.chaos.rig.messages import EVENT, GARBAGE


def events(facts: Facts) -> Iterator[str]:
    """Acknowledged once, refused never, unknown at most once, nothing that nobody sent."""
    for event, message in facts.plan.messages.items():
        count, status = facts.rows[event], facts.journal.status(event)
        if message.what == EVENT and event in facts.model.dropped:
            if count:
                yield f"events: {event} of an erased customer is there"
        elif message.what != EVENT:
            if count:
                yield f"events: {message.what} {event} became an event"
        elif count > 1:
            yield f"events: {event} ({status}) is there {count} times: doubled"
        elif status == ACKED and not count:
            yield f"events: {event} {message.identifiers} was acknowledged and is not there: lost"
        elif status == REFUSED:
            yield f"events: {event} was refused, and should not have been"
    for event in facts.rows:
        if event not in facts.plan.messages:
            yield f"events: {event} was never sent"


def resolved(facts: Facts) -> Iterator[str]:
    """The log of customers holds exactly the events that the tables hold."""
    found = Counter(row["event_id"] for row in facts.records("touchpoints.resolved") if row["kind"] == "event")
    for event in found.keys() | facts.rows.keys():
        if found[event] != facts.rows[event]:
            yield f"resolved: {event} is {found[event]} times in the log, {facts.rows[event]} times in the tables"


def rejected(facts: Facts) -> Iterator[str]:
    """Garbage is kept: once for every answer that refused it, at most once an attempt."""
    kept: Counter[str] = Counter()
    for row in facts.records("touchpoints.rejected"):
        kept[str(json.loads(row["raw"]).get("messageId"))] += 1
    for event, message in facts.plan.messages.items():
        least, most = facts.journal.refused[event], facts.journal.attempts[event]
        if message.what == GARBAGE and not least <= kept[event] <= most:
            yield f"rejected: {event} is kept {kept[event]} times, refused {least}, sent {most} times"
        if message.what == GARBAGE and facts.journal.acked[event]:
            yield f"rejected: {event} is garbage and was acknowledged"
        if message.what != GARBAGE and kept[event]:
            yield f"rejected: {event} is kept as refused"


def dead_letters(facts: Facts) -> Iterator[str]:
    for topic, rows in facts.seen.records.items():
        if topic.endswith(".dead"):
            yield f"dead letters: {len(rows)} in {topic}, the first at {rows[0]['at']}"


def channels(facts: Facts) -> Iterator[str]:
    yield from (f"channels: {line}" for line in facts.seen.channels)


def duplicates(facts: Facts) -> Iterator[str]:
    """The product's own check."""
    for row in facts.seen.duplicates:
        yield f"duplicates_daily: {row}"
