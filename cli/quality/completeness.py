"""How many of a source's events and customers have a field: identifier kinds, traits, and what its rules require."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cli.browse import iso
from cli.quality.store import BOUNDED, EMPTY, EVENTS, share
from services.chassis.clickhouse import Clickhouse
from services.ingest.core.source import Source

_TIMES = "toUnixTimestamp64Milli(min(received_at)) AS first, toUnixTimestamp64Milli(max(received_at)) AS last"
_TOTALS = f"SELECT source, count() AS events, uniqCombined64(customer_id) AS customers FROM {EVENTS} GROUP BY source"
_FIELDS = f"""
SELECT source, field.1 AS kind, field.2 AS name, count() AS events, uniqCombined64(customer_id) AS customers, {_TIMES}
FROM
(
    SELECT source, customer_id, received_at, arrayJoin(arrayDistinct(arrayConcat(
        arrayMap(i -> ('identifier', substringUTF8(i, 1, positionUTF8(i, ':') - 1)), identifiers),
        arrayMap(
            pair -> ('trait', pair.1),
            arrayFilter(
                pair -> NOT startsWith(pair.1, '$') AND pair.2 NOT IN {EMPTY},
                arrayConcat(
                    JSONExtractKeysAndValuesRaw(traits), JSONExtractKeysAndValuesRaw(traits, '$set_once')
                )
            )
        )
    ))) AS field
    FROM {EVENTS}
)
GROUP BY source, kind, name ORDER BY source, kind, events DESC, name {BOUNDED}
"""
_KINDS = {"userId": "user_id:", "anonymousId": "anonymous_id:"}
_PLACED = {"groupId": "group_id", "name": "name", "category": "category"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of one source. kind: identifier | trait | required; `of`: the event name that requires it."""

    source: str
    kind: str
    field: str
    of: str
    events: int
    of_events: int
    customers: int
    of_customers: int
    first_ms: int
    last_ms: int

    def as_json(self) -> dict[str, Any]:
        """The line of `--json`."""
        line = asdict(self)
        first, last = line.pop("first_ms"), line.pop("last_ms")
        return line | {
            "events_share": round(share(self.events, self.of_events), 6),
            "customers_share": round(share(self.customers, self.of_customers), 6),
            "first_seen": iso(first) if self.events else None,
            "last_seen": iso(last) if self.events else None,
        }


def completeness(store: Clickhouse, sources: Sequence[Source], params: Mapping[str, object]) -> list[Field]:
    """Every field that came, and every required one also where it never came; by source."""
    totals = {row["source"]: (row["events"], row["customers"]) for row in store.query_rows(_TOTALS, params)}
    found = [
        Field(
            row["source"], row["kind"], row["name"], "", row["events"], totals[row["source"]][0], row["customers"],
            totals[row["source"]][1], row["first"], row["last"],
        )
        for row in store.query_rows(_FIELDS, params)
        if row["source"] in totals
    ]  # fmt: skip
    rules = {source.name: source.rules.by_name for source in sources}
    for name in totals:
        found += _required(store, name, rules.get(name, {}), params)
    return sorted(found, key=lambda one: one.source)


def _required(
    store: Clickhouse, source: str, rules: Mapping[str, tuple[str, ...]], params: Mapping[str, object]
) -> Iterator[Field]:
    for event, paths in rules.items():
        for path in paths:
            more = dict(params) | {"source": source, "event": event}
            conditions = [condition for choice in path.split("|") if (condition := _has(choice, more))]
            if not conditions:
                continue  # a field that is not kept, such as timestamp: ingest alone can tell
            has = " OR ".join(conditions)
            (row,) = store.query_rows(
                f"""
                SELECT count() AS of_events, uniqCombined64(customer_id) AS of_customers, countIf(has) AS events,
                    uniqCombined64If(customer_id, has) AS customers,
                    toUnixTimestamp64Milli(minIf(received_at, has)) AS first,
                    toUnixTimestamp64Milli(maxIf(received_at, has)) AS last
                FROM (SELECT customer_id, received_at, {has} AS has FROM {EVENTS}
                    WHERE {{event:String}} = '*' OR name = {{event:String}})
                """,
                more,
            )
            yield Field(
                source, "required", path, event, row["events"], row["of_events"], row["customers"],
                row["of_customers"], row["first"], row["last"],
            )  # fmt: skip


def _has(path: str, params: dict[str, object]) -> str:
    """SQL that is true where a path of a rule is there and not empty; its parts go into `params`."""
    head, _, rest = path.partition(".")
    if head == "messageId":
        return "event_id != ''"
    if head in _KINDS:
        return f"arrayExists(i -> startsWith(i, '{_KINDS[head]}'), identifiers)"
    if not rest:
        if head not in _PLACED:
            return ""
        head, rest = "properties", _PLACED[head]
    names = []
    for part in rest.split("."):
        name = f"p{len(params)}"
        params[name] = part
        names.append(f"{{{name}:String}}")
    return f"JSONExtractRaw({head}, {', '.join(names)}) NOT IN {EMPTY}"
