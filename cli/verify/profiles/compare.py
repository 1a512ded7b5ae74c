"""What the events of one customer come to beside what ClickHouse and Redis say: differences, with both values. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cli.verify.profiles.batch import Batch, Row
from services.profile.core.config import ProfileConfig
from services.profile.core.customer_log import CustomerState
from services.profile.core.judgement import judgement
from services.profile.core.state import Conclusion, Part, TagState, Thresholds
from services.profile.core.summary import snapshot_fields
from services.profile.core.tags import conclude
from services.profile.core.timers import next_due_ms

# A timer is looked at five times a second; a customer that is due longer than this was forgotten.
LATE_MS = 5_000
_PLAIN = (
    "events", "first_seen", "last_seen", "recency_days", "frequency", "monetary_minor", "currency", "r", "f", "m",
    "identifiers",
)  # fmt: skip
_NO_EVENTS = Conclusion({}, "", 0)


class Difference(msgspec.Struct, frozen=True):
    """`where`: clickhouse or redis; `live`: what stands there; `computed`: what the events come to, by whom.

    by: folds (profile's own), or sql. SQL beside a value that stands nowhere: where is folds.
    """

    customer_id: str
    field: str
    where: str
    live: object
    computed: object
    by: str = "folds"


def row_differences(
    batch: Batch, row: Row, state: CustomerState | None, cuts: Thresholds | None, now_ms: int, config: ProfileConfig
) -> list[Difference]:
    """The profile in ClickHouse, as of the moment it was written.

    state: Redis's word where it has one of the same revision: which parts have not been counted by today's counters,
    and by which definitions the tags were drawn; without it both are taken as current.
    """
    parts = _as_counted(batch.parts, state)
    judged = judgement(parts, row["updated_at"], cuts, config)
    ours = snapshot_fields(judged.seen, _NO_EVENTS, judged.rfm)
    name = row["customer_id"]
    found = [
        Difference(name, field, "clickhouse", row[field], ours[field]) for field in _PLAIN if row[field] != ours[field]
    ]
    if row["thresholds_version"] != judged.rfm.thresholds_version:
        known = judged.rfm.thresholds_version
        found.append(Difference(name, "thresholds_version", "clickhouse", row["thresholds_version"], known))
    if list(row["nodes"]) != sorted(batch.parts):
        found.append(Difference(name, "nodes", "clickhouse", list(row["nodes"]), sorted(batch.parts)))
    found += _trait_differences(name, msgspec.json.decode(row["traits"]), msgspec.json.decode(_bytes(ours["traits"])))
    if state is not None and state.conclusion is not None and state.conclusion.defined != config.catalogue.version:
        return found  # to be looked at again under other definitions; how far that is, metrics say
    held = {
        tag["name"]: TagState(tag["since"], "", tag["reason"]) for tag in msgspec.json.decode(row["tags_json"])
    }  # fmt: skip
    # Held as it stands: a tag with `ends` may be either way inside its band.
    conclusion, changes = conclude(judged.facts, [Conclusion(held, row["stage"])], "", 0, config)
    if row["stage"] != conclusion.stage:
        found.append(Difference(name, "stage", "clickhouse", row["stage"], conclusion.stage))
    found += [Difference(name, f"tag {tag}", "clickhouse", "missing", why) for tag, _, why in changes.tags_added]
    found += [
        Difference(name, f"tag {tag}", "clickhouse", held[tag].reason, "does not hold") for tag in changes.tags_removed
    ]
    due_ms = next_due_ms(judged.facts, config)
    if not found and due_ms is not None and now_ms - due_ms > LATE_MS:
        found.append(Difference(name, "looked at (ms)", "clickhouse", row["updated_at"], due_ms))
    return found


def state_differences(batch: Batch, state: CustomerState, row: Row) -> list[Difference]:
    """Profile's state in Redis: every part, field by field, and its tags and stage beside ClickHouse's."""
    name, found = batch.customer_id, []
    for node in sorted(batch.parts.keys() | state.parts.keys()):
        ours, theirs = batch.parts.get(node), state.parts.get(node)
        if ours is None or theirs is None:
            said = ("no part" if one is None else f"{one.events} events" for one in (theirs, ours))
            found.append(Difference(name, f"part {node}", "redis", *said))
            continue
        found += [
            Difference(name, f"part {node}: {field}", "redis", live, computed)
            for field, live, computed in _part_fields(theirs, ours)
        ]
    conclusion = state.conclusion
    if conclusion is not None:
        tags = sorted(tag["name"] for tag in msgspec.json.decode(row["tags_json"]))
        if sorted(conclusion.tags) != tags:
            found.append(Difference(name, "tags beside ClickHouse's", "redis", sorted(conclusion.tags), tags))
        if conclusion.stage != row["stage"]:
            found.append(Difference(name, "stage beside ClickHouse's", "redis", conclusion.stage, row["stage"]))
    return found


def _as_counted(parts: Mapping[str, Part], state: CustomerState | None) -> tuple[Part, ...]:
    """The parts; where Redis has not counted one by today's counters from its beginning, nothing is known of them."""
    if state is not None:
        for node, part in parts.items():
            live = state.parts.get(node)
            if live is not None and live.measured != part.measured:
                part.measured, part.measures, part.tally = live.measured, live.measures, live.tally
    return tuple(parts.values())


def _part_fields(live: Part, computed: Part) -> Iterator[tuple[str, object, object]]:
    for field in Part.__struct_fields__:
        theirs, ours = getattr(live, field), getattr(computed, field)
        if theirs == ours:
            continue
        if not isinstance(theirs, dict) or not isinstance(ours, dict):
            yield field, _plain(theirs), _plain(ours)
            continue
        for key in sorted(theirs.keys() | ours.keys()):
            if theirs.get(key) != ours.get(key):
                yield f"{field} {key}", _plain(theirs.get(key)), _plain(ours.get(key))


def _trait_differences(name: str, live: dict[str, Any], computed: dict[str, Any]) -> list[Difference]:
    return [
        Difference(name, f"trait {key}", "clickhouse", live.get(key), computed.get(key))
        for key in sorted(live.keys() | computed.keys())
        if live.get(key) != computed.get(key)
    ]


def _plain(value: object) -> object:
    return msgspec.to_builtins(value)


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
