"""Who is meant by a customer id or KIND:VALUE, and the plain identifier that names them on a touchpoint.

The graph and the profiles hold digests and masked values. The plain identifier comes from the events in ClickHouse:
every node of the graph came with a touchpoint, whose row holds it in plain text. It counts only if its digest is one of
the customer's nodes now, so that neither a trait that is no identifier nor one that was unlinked since can be named.
"""

from dataclasses import dataclass
from uuid import UUID

from cli.history.gather import identifiers_of
from cli.identifiers import UnusableIdentifierError, standard_identifier
from cli.resolve import LookUp
from services.chassis.clickhouse import Clickhouse
from services.identity.core.policy import Policy

NODES = "SELECT nodes FROM customers WHERE customer_id = {id:String}"


class UndecidableError(Exception):
    """Nobody is meant, or nothing names them; the text says why."""


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
        nodes = rows[0]["nodes"]
        found = identifiers_of(self._store, nodes, self._key)
        own = [found[node] for node in nodes if node in found]
        strongest = sorted((one for one in own if not self._policy.is_blocked(*one.split(":", 1))), key=self._strength)
        for identifier, known in zip(strongest, self._look_up(strongest), strict=True):
            if known == customer_id:
                return identifier
        raise UndecidableError(f"no event names customer {customer_id}: give an identifier of theirs, KIND:VALUE")

    def _strength(self, identifier: str) -> tuple[bool, int, str]:
        kind = self._policy.kinds[identifier.partition(":")[0]]
        return not kind.may_merge, kind.rank, identifier


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
