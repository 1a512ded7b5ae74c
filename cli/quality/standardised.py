"""What standardising made of a source's values: changed, set aside as invalid, clamped; from `originals`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cli.quality.masking import masked, shown
from cli.quality.store import BOUNDED, EVENTS
from services.chassis.clickhouse import Clickhouse
from services.ingest.core.model import FLAG_CLAMPED

EXAMPLES = 3
# An original beside a trait that is still there was changed; without one it was invalid and left. `now`: what it is.
_FIELDS = f"""
SELECT source, field, count() AS events, countIf(fate = 'changed') AS changed, countIf(fate = 'invalid') AS invalid,
    countIf(fate = 'clamped') AS clamped,
    groupUniqArrayIf({EXAMPLES})((was, now), fate = 'changed') AS changed_to,
    groupUniqArrayIf({EXAMPLES})(was, fate = 'invalid') AS refused,
    groupUniqArrayIf({EXAMPLES})(was, fate = 'clamped') AS moved
FROM
(
    SELECT source, pair.1 AS field, pair.2 AS was,
        splitByChar('.', field) AS path,
        multiIf(
            path[1] = 'traits' AND length(path) = 2, JSONExtractRaw(traits, path[2]),
            path[1] = 'traits', JSONExtractRaw(traits, path[2], path[3]),
            path[1] = 'properties', JSONExtractRaw(properties, path[2]),
            toString(occurred_at)
        ) AS now,
        multiIf(
            path[1] IN ('traits', 'properties'), if(now = '', 'invalid', 'changed'),
            bitAnd(flags, {FLAG_CLAMPED}) != 0, 'clamped',
            'changed'
        ) AS fate
    FROM {EVENTS}
    ARRAY JOIN JSONExtractKeysAndValuesRaw(originals) AS pair
    WHERE originals != '{{}}'
)
GROUP BY source, field ORDER BY source, events DESC, field {BOUNDED}
"""
# How many events have a field at all, for the traits among them.
_STATED = f"""
SELECT source, trait, count() AS events
FROM (SELECT source, arrayJoin(JSONExtractKeys(traits)) AS trait FROM {EVENTS} WHERE traits != '{{}}')
GROUP BY source, trait {BOUNDED}
"""


@dataclass(frozen=True, slots=True)
class Standard:
    """One field of one source. values: events that brought one, 0 where that is not known (times, properties)."""

    source: str
    field: str
    values: int
    changed: int
    invalid: int
    clamped: int
    examples: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The line of `--json`; the examples are masked."""
        return asdict(self) | {"examples": list(self.examples)}


def standardised(store: Clickhouse, params: Mapping[str, object]) -> list[Standard]:
    """Every field of which at least one value was changed, refused or clamped; by source."""
    stated = {(row["source"], row["trait"]): row["events"] for row in store.query_rows(_STATED, params)}
    found = []
    for row in store.query_rows(_FIELDS, params):
        root, _, name = row["field"].partition(".")
        values = stated.get((row["source"], name), 0) + row["invalid"] if root == "traits" and "." not in name else 0
        numbers = row["changed"], row["invalid"], row["clamped"]
        found.append(Standard(row["source"], row["field"], values, *numbers, tuple(_examples(row))))
    return found


def _examples(row: Mapping[str, Any]) -> list[str]:
    field = row["field"]
    found = [f"{shown(field, was)} → {shown(field, now)}" for was, now in sorted(row["changed_to"])]
    # What is no valid phone number may be anything.
    found += [f"{masked(was.strip(chr(34)))} refused" for was in sorted(row["refused"])]
    return found + [f"{shown(field, was)} clamped" for was in sorted(row["moved"])]
