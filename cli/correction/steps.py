"""The steps of corrections, kept in ClickHouse's table `corrections`, and the state that follows from them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.correction.fields import Change
from services.chassis.clickhouse import Clickhouse

REQUESTED, APPROVED, REFUSED, APPLIED = "requested", "approved", "refused", "applied"
_COLUMNS = ("id", "step", "author", "account", "customer_id", "identifier", "fields", "reason")
_SELECT = "SELECT *, toUnixTimestamp64Milli(at) AS at_ms FROM corrections"
_ALL = f"{_SELECT} ORDER BY id, at_ms, step, author"
_SOME = f"{_SELECT} WHERE startsWith(id, {{id:String}}) ORDER BY id, at_ms, step, author"


@dataclass(frozen=True, slots=True)
class Step:
    """What somebody did about a correction; as a row of the table."""

    id: str
    step: str
    author: str
    account: str
    customer_id: str
    identifier: str
    fields: str
    reason: str
    at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Correction:
    """A request and all that followed, in order."""

    request: Step
    changes: tuple[Change, ...]
    steps: tuple[Step, ...]

    @property
    def decision(self) -> Step | None:
        """The first approval or refusal; what another one said after it counts for nothing."""
        return next((one for one in self.steps if one.step in (APPROVED, REFUSED)), None)

    @property
    def state(self) -> str:
        """requested | approved | refused | applied. What was applied stays so, whatever was said at the same moment."""
        if any(one.step == APPLIED for one in self.steps):
            return APPLIED
        return self.decision.step if self.decision else REQUESTED

    def why_not(self, step: str, author: str, account: str, is_account_shared: bool = False) -> str:
        """Why this author may not take this step now; empty when nothing is in the way.

        Authors are what people say of themselves, so an approval also comes from another account of the machine,
        unless whoever approves states that two people share one.
        """
        if step == APPROVED and same_person(author, self.request.author):
            return f"{author} asked for it: another person approves"
        if step == APPROVED and account == self.request.account and not is_account_shared:
            return f"the account {account} asked for it, too: approve from another one (or --same-account)"
        wanted = APPROVED if step == APPLIED else REQUESTED
        if self.state != wanted:
            by = self.decision.author if self.decision else self.request.author
            return f"it is {self.state} (by {by})"
        return ""


def same_person(first: str, second: str) -> bool:
    """As names are typed: case and blanks do not make another person."""
    return " ".join(first.split()).casefold() == " ".join(second.split()).casefold()


def gathered(steps: Iterable[Step]) -> list[Correction]:
    """Corrections from their rows, oldest request first. Rows without a request are none."""
    by_id: dict[str, list[Step]] = {}
    for one in steps:
        by_id.setdefault(one.id, []).append(one)
    found = []
    for rows in by_id.values():
        rows.sort(key=lambda one: (one.at_ms, one.step, one.author))
        request = next((one for one in rows if one.step == REQUESTED), None)
        if request is not None:
            # The request is the first whatever the clocks say.
            rest = [one for one in rows if one is not request]
            found.append(Correction(request, tuple(_changes(request.fields)), (request, *rest)))
    return sorted(found, key=lambda one: (one.request.at_ms, one.request.id))


def _changes(text: str) -> list[Change]:
    return [Change(one["field"], one["former"], one["value"], one["given"]) for one in json.loads(text)]


def load(store: Clickhouse, beginning: str = "") -> list[Correction]:
    """Those whose id begins like this, all without any. Raises Retriable, Fatal (the table is not there)."""
    rows = store.query_rows(_SOME, {"id": beginning}) if beginning else store.query_rows(_ALL)
    return gathered(_step(row) for row in rows)


def save(store: Clickhouse, step: Step) -> None:
    """Add one row; the same step of the same author is there once, also when an answer was lost."""
    row: Sequence[Sequence[object]] = [[getattr(step, name)] for name in _COLUMNS]
    store.insert("corrections", _COLUMNS, row, f"corrections/{step.id}/{step.step}/{step.author}")


def _step(row: Mapping[str, Any]) -> Step:
    return Step(**{name: str(row[name]) for name in _COLUMNS}, at_ms=int(row["at_ms"]))
