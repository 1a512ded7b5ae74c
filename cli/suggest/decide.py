"""`accept` and `refuse`: a person's answer to a suggestion, as a touchpoint with one identifier of each side.

The graph and the profiles hold digests and masked values. The plain identifier comes from the events in ClickHouse:
every node of the graph came with a touchpoint, whose row holds it in plain text. It counts only if its digest is one of
the customer's nodes now, so that neither a trait that is no identifier nor one that was unlinked since can be named.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from cli.identifiers import UnusableIdentifierError, standard_identifier
from cli.resolve import LookUp
from cli.suggest.explain import Reason
from services.chassis.clickhouse import Clickhouse
from services.chassis.ids import node_of
from services.identity.core.policy import Policy

NODES = "SELECT nodes FROM customers WHERE customer_id = {id:String}"
IDENTIFIERS = """
SELECT DISTINCT arrayJoin(identifiers) AS identifier FROM events_raw WHERE node IN {nodes:Array(String)}
"""
# A reason is cut at 500 characters where it is told; what speaks loudest comes first.
MAX_REASONS = 5


class UndecidableError(Exception):
    """The answer cannot be given; the text says why."""


@dataclass(frozen=True, slots=True)
class Side:
    """A customer and the identifier that names them on the touchpoint."""

    customer_id: str
    identifier: str


class Sides:
    """Finds who is meant by a customer id or KIND:VALUE."""

    def __init__(self, store: Clickhouse, look_up: LookUp, policy: Policy, key: bytes) -> None:
        self._store, self._look_up, self._policy, self._key = store, look_up, policy, key

    def find(self, given: str) -> Side:
        """Raises UndecidableError when nobody is meant or nothing names them."""
        if _is_id(given):
            return Side(given, self._named(given))
        try:
            standard = standard_identifier(given, self._policy)
        except UnusableIdentifierError as error:
            raise UndecidableError(f"{given}: {error}; or give a customer id") from None
        (known,) = self._look_up([standard])
        if known is None:
            raise UndecidableError(f"nobody is known as {standard}")
        return Side(known, standard)

    def _named(self, customer_id: str) -> str:
        """The strongest identifier that the customer has now; one that joins nobody only when there is no other."""
        rows = self._store.query_rows(NODES, {"id": customer_id})
        if not rows:
            raise UndecidableError(f"there is no customer {customer_id} (any more)")
        nodes = set(rows[0]["nodes"])
        found = self._store.query_rows(IDENTIFIERS, {"nodes": sorted(nodes)})
        usable = [one for row in found if not self._policy.is_blocked(*(one := str(row["identifier"])).split(":", 1))]
        strongest = sorted((one for one in usable if node_of(one, self._key) in nodes), key=self._strength)
        for identifier, known in zip(strongest, self._look_up(strongest), strict=True):
            if known == customer_id:
                return identifier
        raise UndecidableError(f"no event names customer {customer_id}: give an identifier of theirs, KIND:VALUE")

    def _strength(self, identifier: str) -> tuple[bool, int, str]:
        kind = self._policy.kinds[identifier.partition(":")[0]]
        return not kind.may_merge, kind.rank, identifier


def answer(author: str, why: str, score: float, reasons: Iterable[Reason]) -> dict[str, object]:
    """The properties of the touchpoint."""
    words = "; ".join(str(reason) for reason in list(reasons)[:MAX_REASONS])
    said = f"{why}. " if why else ""
    return {"author": author, "reason": f"{said}Suggested with {score:.2%}: {words}", "score": score}


def from_list(path: Path, first: str, second: str) -> tuple[float, list[Reason]]:
    """Score and reasons of a pair in a list that `suggest --json` wrote. Raises UndecidableError."""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            one: dict[str, Any] = json.loads(line)
            if {customer["customer_id"] for customer in one["customers"]} == {first, second}:
                return one["score"], [Reason(r["comparison"], r["says"], r["weight"]) for r in one["reasons"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UndecidableError(f"{path} is no list of `suggest --json`: {error}") from error
    raise UndecidableError(f"{path} does not hold {first} and {second}; without --from the score is computed")


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
