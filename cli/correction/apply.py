"""A correction becomes a touchpoint: of whom it is now, and what is written."""

import json
from typing import Any

from cli.correction.steps import APPLIED, Correction, Step, save
from cli.corrections import Request, state
from cli.resolve import LookUp
from services.chassis.clickhouse import Clickhouse
from services.identity.settings import IdentitySettings

_TRAITS = "SELECT traits FROM customers WHERE customer_id = {id:String}"
_ENDED = "SELECT customer_id FROM ended_customers WHERE ended_id = {id:String}"


class NotTheirsError(Exception):
    """The identifier that named the customer names another one now; the text says so."""


def customer_now(store: Clickhouse, look_up: LookUp, request: Step) -> str:
    """The customer whose profile the touchpoint would reach: the one asked about, or who it was merged into.

    Raises NotTheirsError when that is somebody else, or nobody.
    """
    (found,) = look_up([request.identifier])
    if found is None:
        raise NotTheirsError(f"customer {request.customer_id} is not known any more: erased?")
    if found != request.customer_id:
        ended = store.query_rows(_ENDED, {"id": request.customer_id})
        if not ended or ended[0]["customer_id"] != found:
            raise NotTheirsError(
                f"what named customer {request.customer_id} belongs to {found} now: refuse it and ask again"
            )
    return found


def traits_now(store: Clickhouse, customer_id: str) -> dict[str, Any] | None:
    """What the profile says; None when ClickHouse does not have the customer yet."""
    rows = store.query_rows(_TRAITS, {"id": customer_id})
    return dict(json.loads(rows[0]["traits"])) if rows else None


def touchpoint(one: Correction) -> Request:
    """What is written for an approved correction: the same whoever writes it, and however often.

    Its event id is the correction's, so that identity drops a second one; its time is that of the approval.
    """
    request, approval = one.request, one.decision
    if approval is None:
        raise ValueError(f"correction {request.id} is {one.state}")
    properties = {
        "correction": request.id, "author": request.author, "approved_by": approval.author, "reason": request.reason,
    }  # fmt: skip
    traits = {change.field: change.value for change in one.changes}
    return Request("identify", (request.identifier,), properties, request.id, traits, approval.at_ms)


def apply(store: Clickhouse, settings: IdentitySettings, one: Correction, customer_id: str, taken_by: Step) -> None:
    """Write it, wait until identity has worked it off, and keep that it is done. Raises Retriable, Fatal."""
    state(settings, touchpoint(one))
    done = Step(
        one.request.id, APPLIED, taken_by.author, taken_by.account, customer_id, one.request.identifier, "[]", ""
    )
    save(store, done)
