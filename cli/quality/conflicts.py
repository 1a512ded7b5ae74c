"""Customers of whom two sources say different things now, and which of them the profile believes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cli.browse import iso
from cli.quality.masking import shown
from cli.quality.store import EVENTS, SPILLED
from services.chassis.clickhouse import Clickhouse

# Every statement about a field, as profile reads it (services/profile/core/traits.py): a JSON null and a name under
# $unset take their statement back, $set_once yields to whatever anybody says, a future clock is a day ahead.
_STATEMENTS = f"""
(
    SELECT customer_id, source, event_id, pair.1 AS trait, pair.2 AS value,
        least(toUnixTimestamp64Milli(occurred_at), toUnixTimestamp64Milli(received_at) + 86400000) AS at_ms
    FROM {EVENTS}
    ARRAY JOIN arrayConcat(
        arrayFilter(pair -> NOT startsWith(pair.1, '$'), JSONExtractKeysAndValuesRaw(traits)),
        arrayMap(
            name -> (name, 'null'),
            arrayFilter(
                name -> NOT JSONHas(traits, name),
                arrayConcat(
                    JSONExtract(traits, '$unset', 'Array(String)'),
                    if(JSONType(traits, '$unset') = 'String', [JSONExtractString(traits, '$unset')], [])
                )
            )
        )
    ) AS pair
    WHERE traits != '{{}}'
)
"""
# Fields of customers of which two sources ever spoke, and not all the same: few, and found by numbers alone. What each
# said last is worked out for these only: for all there are it took six times as long, most of it on disk.
_IN_QUESTION = f"""
SELECT cityHash64(customer_id, trait) AS field FROM {_STATEMENTS} GROUP BY field
HAVING min(cityHash64(source)) != max(cityHash64(source)) AND min(cityHash64(value)) != max(cityHash64(value))
"""
_SAID_LAST = f"""
(
    SELECT customer_id, trait, source, max((at_ms, event_id)) AS latest, argMax(value, (at_ms, event_id)) AS value
    FROM {_STATEMENTS} WHERE cityHash64(customer_id, trait) IN ({_IN_QUESTION})
    GROUP BY customer_id, trait, source
)
"""
_CONFLICTS = f"""
SELECT customer_id, trait, groupArray(source), groupArray(value), groupArray(latest.1), groupArray(latest.2)
FROM {_SAID_LAST}
GROUP BY customer_id, trait
HAVING uniqExactIf(value, value != 'null') > 1
    AND ({{takes_part:String}} = '' OR has(groupArray(source), {{takes_part:String}}))
    AND max(latest.1) >= {{changed_ms:Int64}}
ORDER BY trait, customer_id
{SPILLED}
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a source said last of a field: a JSON value, `null` where it took its statement back."""

    source: str
    value: str
    at_ms: int
    event_id: str

    @property
    def key(self) -> tuple[int, str, str]:
        """The higher one counts, as in profile."""
        return self.at_ms, self.event_id, self.source


@dataclass(frozen=True, slots=True)
class Conflict:
    """Statements about one field of one customer, the one that counts first."""

    customer_id: str
    trait: str
    statements: tuple[Statement, ...]

    @property
    def why(self) -> str:
        """Why the first one counts."""
        first, second = self.statements[:2]
        if first.at_ms > second.at_ms:
            return f"later by event time ({iso(first.at_ms)})"
        return "the same event time: the higher event id, then source, counts"

    def as_json(self) -> dict[str, Any]:
        """The line of `--json`; values masked where they may be personal."""
        return {
            "customer_id": self.customer_id, "trait": self.trait, "winner": self.statements[0].source, "why": self.why,
            "statements": [
                {"source": one.source, "value": shown(self.trait, one.value), "at": iso(one.at_ms),
                 "event_id": one.event_id}
                for one in self.statements
            ],
        }  # fmt: skip


def conflicts(store: Clickhouse, source: str, params: Mapping[str, object]) -> Iterator[Conflict]:
    """By field and customer, as a stream. source: only where it takes part; since_ms: only where one spoke since."""
    given = {"source": "", "since_ms": 0, "takes_part": source, "changed_ms": params["since_ms"]}
    for customer_id, trait, *columns in store.stream_rows(_CONFLICTS, given):
        said = [Statement(*row) for row in zip(columns[0], columns[1], columns[2], columns[3], strict=True)]
        yield Conflict(customer_id, trait, tuple(sorted(said, key=lambda one: one.key, reverse=True)))
