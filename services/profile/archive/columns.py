"""`python -m services.profile.archive.columns`: the column tables of deploy/clickhouse/README.md from a database."""

import re
from collections.abc import Mapping
from typing import Protocol

from services.chassis.clickhouse import Row, connect
from services.chassis.run import Stop, run
from services.chassis.settings import load_settings
from services.profile.archive.settings import ArchiveSettings

_BLOCK = re.compile(r"(<!-- columns (\w+) -->\n).*?(<!-- /columns -->)", re.DOTALL)
_SQL = """
SELECT table, name, type, comment FROM system.columns WHERE database = {database:String} ORDER BY table, position
"""
# Columns of views that are computed, or mean something else than the column of that name in their table; `view.column`
# where another view means something else.
_VIEW_COLUMNS: Mapping[str, str] = {
    "customer_id": "customer now, UUID text: merges, splits and erasures applied",
    "arrived_customer_id": "customer when the record arrived, UUID text",
    "tags": "names of the tags that hold, in order",
    "identifier": "node text of an identifier that has another node now",
    "current_node": "that node: what happened since is under it",
    "identity_policies.number": "which one it was, from 1",
    "identity_policies.version": "hash of its content",
    "identity_policies.replaced": "the version before it; empty = none was",
    "identity_policies.since": "log time of the first touchpoint under it",
    "identity_policies.batch": "the first batch under it: it decided all up to the next one's",
    "identity_policies.g": "number among the changes of the graph",
    "identity_policies.rules": "its rules as JSON: the policy file; blocked values in plain text",
    "segments": "names of the segments that they are in, in order",
    "customer_tags.tag": "a tag that they hold now, a segment as segment:<name>",
    "customer_tags.since": "since when",
    "customer_tags.until": "when it ends if nothing happens; NULL: not within what is known",
    "customer_tags.reason": "why, in words",
    "segment_members.segment": "name of the segment",
    "segment_members.since": "since when they are in it",
    "segment_members.until": "when they leave it if nothing happens; NULL: not within what is known",
    "segment_members.reason": "why, in words",
    "segments.segment": "name of the segment",
    "segments.customers": "how many are in it now",
    "segments.last_entered": "when the last of them entered",
    "since_g": "number of the last change of the node",
    "ended_id": "customer id that merged into another one or was erased, UUID text",
    "day": "day of the log append, UTC",
    "table": "which view",
    "copies": "rows of one record that are there more than once: must be 0",
    "repeats": "the same event (trigger) under one id at several places: must be 0",
}


class Asker(Protocol):
    """The part of services.chassis.clickhouse.Clickhouse that is needed here."""

    database: str

    def query_rows(self, sql: str, params: dict[str, object] | None = None) -> list[Row]: ...


def with_columns(text: str, server: Asker) -> str:
    """The README with every block `<!-- columns NAME -->` as the database has it. Raises KeyError for unknown names."""
    rows = server.query_rows(_SQL, {"database": server.database})
    comments = {(row["table"], row["name"]): row["comment"] for row in rows if row["comment"]}
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(row["table"], []).append(row)

    def block(match: re.Match[str]) -> str:
        return match[1] + _table(tables[match[2]], comments) + match[3]

    return _BLOCK.sub(block, text)


def _table(rows: list[Row], comments: Mapping[tuple[str, str], str]) -> str:
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for row in rows:
        below = {"identifiers": "identifier_map"}.get(row["table"], f"{row['table']}_raw")
        own = _VIEW_COLUMNS.get(f"{row['table']}.{row['name']}") or _VIEW_COLUMNS.get(row["name"])
        meaning = row["comment"] or own or comments[below, row["name"]]
        lines.append(f"| `{row['name']}` | `{row['type']}` | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def main(stop: Stop) -> None:
    """Rewrite the README of the migrations folder."""
    settings = load_settings(ArchiveSettings)
    path = settings.migrations / "README.md"
    server = connect(settings)
    path.write_text(with_columns(path.read_text(encoding="utf-8"), server), encoding="utf-8")
    server.close()


if __name__ == "__main__":
    raise SystemExit(run(main))
