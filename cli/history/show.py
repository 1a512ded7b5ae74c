"""A history for people: one line a change, identifiers masked. Only layout; nothing is asked here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

from cli.browse import iso
from cli.history.gather import Moment

MOST_NAMES = 4


def sentence(one: Moment, subject: str) -> str:
    """What happened; `subject` is the customer whose history it is, empty in that of an identifier."""
    told: dict[str, Callable[[], str]] = {
        "linked": lambda: f"linked to customer {one.customer_id}",
        "merged": lambda: (
            f"became part of customer {one.customer_id}"
            if subject == one.other_id
            else f"customer {one.other_id} became part of {one.customer_id}"
        ),
        "split": lambda: (
            f"stayed with {one.other_id}; what follows here became customer {one.customer_id}"
            if one.stayed or subject == one.other_id
            else f"parted from {one.other_id}, customer {one.customer_id} since"
        ),
        "unlinked": lambda: f"a link within customer {one.customer_id} was taken back",
        "conflict": lambda: f"kept apart: {one.customer_id} and {one.other_id}",
        "blocked": lambda: f"left out of customer {one.customer_id}",
        "refused": lambda: f"said not to be the same: {one.customer_id} and {one.other_id}",
        "declined": lambda: f"an unlink was not done: it was of customer {one.customer_id}",
        "moved": lambda: f"taken over from {one.other_id} by customer {one.customer_id}",
        "expired": lambda: f"not seen for too long: no more an identifier of {one.customer_id}",
        "quarantined": lambda: f"customer {one.customer_id} is too large: joins nothing more",
        "released": lambda: f"customer {one.customer_id} may grow again",
        "erased": lambda: f"erased with customer {one.customer_id}",
    }
    return told.get(one.what, lambda: f"{one.what}: customer {one.customer_id}")()


def name(node: str, names: Mapping[str, str]) -> str:
    """A node for people: masked, or the beginning of its digest where no event names it."""
    kind, _, digest = node.partition(":")
    return names.get(node) or f"{kind}:#{digest[:8]}"


def table(moments: Sequence[Moment], names: Mapping[str, str], title: str, subject: str) -> Table:
    """One row a change."""
    rows = Table(title=title, title_justify="left", row_styles=["", "dim"])
    for column in ("when", "what happened", "identifiers", "why", "event"):
        rows.add_column(column, overflow="fold", no_wrap=column == "when")
    for one in moments:
        shown = [name(node, names) for node in one.nodes[:MOST_NAMES]]
        more = [f"and {len(one.nodes) - MOST_NAMES} more"] if len(one.nodes) > MOST_NAMES else []
        when = iso(one.occurred_ms)[:19].replace("T", " ")
        rows.add_row(
            when, sentence(one, subject), "\n".join(shown + more), one.reason, f"{one.event_id} of {one.source}"
        )
    return rows


def as_json(one: Moment, names: Mapping[str, str]) -> dict[str, Any]:
    """The line of `--json`."""
    return {
        "g": one.g, "what": one.what, "occurred_at": iso(one.occurred_ms), "accepted_at": iso(one.accepted_ms),
        "customer_id": one.customer_id, "other_id": one.other_id, "stayed": one.stayed,
        "identifiers": [name(node, names) for node in one.nodes], "reason": one.reason, "source": one.source,
        "event_id": one.event_id, "place": one.place,
    }  # fmt: skip
