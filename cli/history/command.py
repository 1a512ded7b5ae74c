"""Wiring of `touchstream identity history`."""

import json
from typing import Annotated
from uuid import UUID

import typer

from cli.browse import answering, console, give_up
from cli.history.gather import names_of, of_customer, of_node
from cli.history.show import as_json, table
from cli.identifiers import UnusableIdentifierError, standard_identifier
from services.chassis.clickhouse import connect
from services.chassis.ids import node_of
from services.chassis.settings import load_settings
from services.identity.adapters import load_policy
from services.identity.settings import IdentitySettings
from services.profile.core.contribution import mask

TIMEOUT_S = 600


def history(
    subject: Annotated[str, typer.Argument(metavar="KIND:VALUE|CUSTOMER", help="an identifier, or a customer id")],
    as_json_: Annotated[bool, typer.Option("--json", help="one JSON object a line and change")] = False,
) -> None:
    """Show everything that happened to an identifier or a customer, oldest first. Exit code 1 when nothing did."""
    with answering():
        settings = load_settings(IdentitySettings)
        key, store = settings.identifier_key_bytes(), connect(settings, TIMEOUT_S)
        customer_id, standard = _customer(subject), ""
        if not customer_id:
            try:
                standard = standard_identifier(subject, load_policy(settings.policy), is_blocked_allowed=True)
            except UnusableIdentifierError as error:
                give_up(f"{subject}: {error}")
        moments = of_customer(store, customer_id) if customer_id else of_node(store, node_of(standard, key))
        shown = customer_id or mask(standard)
        if not moments:
            give_up(f"nothing is known of {shown}; what happened in the last second may not be in ClickHouse yet")
        names = names_of(store, [node for one in moments for node in one.nodes], key, [standard] if standard else [])
    if as_json_:
        for one in moments:
            print(json.dumps(as_json(one, names), ensure_ascii=False))
    else:
        console.print(table(moments, names, f"history of {shown}", customer_id))


def _customer(text: str) -> str:
    """A customer id in canonical form; empty when the text is none."""
    try:
        return str(UUID(text.strip()))
    except ValueError:
        return ""
