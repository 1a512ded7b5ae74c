"""`touchstream identity`: corrections of the graph by a person, through the same topic as every touchpoint."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import typer

from cli.browse import answering, complaints, console, give_up, iso
from cli.corrections import correct, os_user
from cli.history.command import TIMEOUT_S, history
from cli.history.gather import names_of
from cli.history.show import name
from cli.identifiers import UnusableIdentifierError, standard_identifier
from cli.moot import moot
from cli.reresolve.command import replay
from cli.resolve import LookUp, open_look_up
from cli.suggest.command import app as suggest
from services.chassis.clickhouse import connect
from services.chassis.errors import Fatal, Retriable
from services.chassis.ids import node_of
from services.chassis.redis.client import RedisError, sync_client
from services.chassis.settings import load_settings
from services.identity.adapters import load_policy
from services.identity.core.links import CUSTOMER
from services.identity.core.policy import Policy
from services.identity.policies import versions
from services.identity.settings import IdentitySettings

app = typer.Typer(no_args_is_help=True, help="Corrections of who is whom.")
app.command()(history)
app.command()(replay)
app.add_typer(suggest, name="suggest")
Given = Annotated[str, typer.Argument(metavar="KIND:VALUE", help="e.g. phone:+8613912345678")]
Other = Annotated[str, typer.Argument(metavar="[KIND:VALUE]", help="take back only the link between the two")]
Second = Annotated[str, typer.Argument(metavar="KIND:VALUE", help="the identifier it belongs with")]
From = Annotated[str, typer.Option("--from", metavar="CUSTOMER", help="only if this customer has it")]
Customer = Annotated[str, typer.Argument(metavar="CUSTOMER", help="its id, see `touchstream resolve`")]
Reason = Annotated[str, typer.Option("--reason", help="why; kept with the change")]
Author = Annotated[str, typer.Option("--author", help="who says so; otherwise the user of this machine")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]
DECLINED = {
    "other_customer": "not done: it belongs to customer {customer_id} now",
    "no_link": "not done: nothing links the two directly. What joins them is in `touchstream identity history`",
}


@app.command()
def unlink(
    identifier: Given, other: Other = "", from_: From = "", reason: Reason = "", author: Author = "", yes: Yes = False
) -> None:
    """Take an identifier out of its customer; what only it held together becomes customers of their own again.

    With a second identifier only the link between the two is taken back, and each side keeps its other links.
    """
    properties: dict[str, object] = _whose(from_)
    question = f"Unlink {identifier}? Customers that only it joins are parted."
    if other:
        properties["pair"] = True
        question = f"Take back the link between {identifier} and {other}? Customers that only it joins are parted."
    _request(
        "unlink", [identifier, other] if other else [identifier], question, _signed(properties, author, reason), yes
    )


@app.command()
def link(identifier: Given, other: Second, reason: Reason = "", author: Author = "", yes: Yes = False) -> None:
    """Link two identifiers: their customers become one, as if an event had carried both. The guards hold."""
    question = f"Link {identifier} and {other}? If they are of two customers, these become one."
    _request("link", [identifier, other], question, _signed({}, author, reason), yes)


@app.command()
def erase(identifier: Given, reason: Reason = "", author: Author = "", yes: Yes = False) -> None:
    """Erase the customer who has an identifier: profile and graph forget, what comes later for them is dropped.

    ClickHouse's views leave the customer out; the rows it already has stay in its tables.
    """
    question = f"Erase the customer who has {identifier}? This cannot be undone."
    _request("erase", [identifier], question, _signed({}, author, reason), yes)


@app.command()
def policies() -> None:
    """Which identity policy held since when; a change counts from then on only."""
    with answering():
        found = versions(sync_client(load_settings(IdentitySettings).redis_url))
        for one in found:
            console.print(f"{one.number}  {iso(one.since_ms)}  {one.version}", markup=False)
        if not found:
            console.print("no policy yet: identity has decided nothing")


@app.command()
def release(customer: Customer, reason: Reason = "", author: Author = "", yes: Yes = False) -> None:
    """Let a quarantined customer grow again: as many identifiers more as a customer may have."""
    properties = _signed({}, author, reason)
    with answering():
        settings = load_settings(IdentitySettings)
        try:
            customer_id = str(UUID(customer))
        except ValueError:
            raise typer.BadParameter(f"{customer!r}: expected a customer id (see `touchstream resolve`)") from None
        if not yes:
            typer.confirm(f"Release customer {customer_id}? It may join others again.", abort=True)
        changes = correct(settings, "release", [f"{CUSTOMER}{customer_id}"], properties)
    for change in changes:
        console.print(f"customer {change['customer_id']} released", markup=False)
    if not changes:
        console.print("nothing changed: no such customer is quarantined")


def _signed(properties: dict[str, object], author: str, reason: str) -> dict[str, object]:
    return properties | {"author": author or os_user()} | ({"reason": reason} if reason else {})


def _whose(text: str) -> dict[str, object]:
    try:
        return {"from": str(UUID(text))} if text else {}
    except ValueError:
        raise typer.BadParameter(f"--from {text!r}: expected a customer id (see `touchstream resolve`)") from None


def _request(kind: str, identifiers: Sequence[str], question: str, properties: dict[str, object], yes: bool) -> None:
    with answering():
        settings = load_settings(IdentitySettings)
        policy, look_up = load_policy(settings.policy), open_look_up()
        try:
            standard = [standard_identifier(one, policy, is_blocked_allowed=kind == "unlink") for one in identifiers]
        except UnusableIdentifierError as error:
            give_up(f"{', '.join(identifiers)}: {error}")
        _check(look_up, standard, str(properties.get("from", "")))
        if not yes:
            typer.confirm(question, abort=True)
        changes = correct(settings, kind, standard, properties)
    _tell(changes, kind)
    if kind == "unlink" and changes:
        _tell_moot(settings, policy, changes, "" if "pair" in properties else standard[0])


def _check(look_up: LookUp, identifiers: Sequence[str], expected: str) -> None:
    """Show whose they are; what is wrong at once need not be asked of the graph, which decides again."""
    for one, customer_id in zip(identifiers, look_up(list(identifiers)), strict=True):
        if customer_id is None:
            give_up(f"nobody is known as {one}")
        if expected and one == identifiers[0] and customer_id != expected:
            give_up(f"{one} belongs to customer {customer_id} now, not to {expected}: nothing was asked")
        console.print(f"{one} is customer {customer_id}", markup=False)


def _tell(changes: Sequence[dict[str, Any]], kind: str) -> None:
    for change in changes:
        declined = DECLINED.get(change["reason"].partition(":")[0]) if change["kind"] == "declined" else None
        if declined:
            give_up(declined.format(**change))
        console.print(_told(change), markup=False)
    if not changes:
        console.print("nothing changed: the identifier holds nothing together")
    if kind == "link" and any(change["kind"] in ("conflict", "blocked") for change in changes):
        give_up("not linked: a guard of the identity policy says no (its reason is above)")


def _tell_moot(settings: IdentitySettings, policy: Policy, changes: Sequence[dict[str, Any]], wrong: str) -> None:
    """Who would be one customer without the links that were taken back: nobody asks the graph again but a person."""
    try:
        key, store = settings.identifier_key_bytes(), connect(settings, TIMEOUT_S)
        node = node_of(wrong, key) if wrong else ""
        rows = list(moot(store, sync_client(settings.redis_url), policy, changes, node))
        names = names_of(store, [node for row in rows for node in row["nodes"]], key)
    except (Retriable, Fatal, RedisError) as error:
        complaints.print(f"which refused links this made moot cannot be said; the unlink stands: {error}", markup=False)
        return
    for row in rows:
        both = " and ".join(name(node, names) for node in row["nodes"])
        console.print(
            f"was refused before, would not be now: {both} (event {row['event_id']} of {row['source']});"
            " `touchstream identity link` joins them",
            markup=False,
        )


def _told(change: dict[str, Any]) -> str:
    kinds = ", ".join(sorted(node.partition(":")[0] for node in change["nodes"]))
    what = {
        "split": f"customer {change['customer_id']} parted from {change['from_id']}",
        "merged": f"customer {change['from_id']} is part of {change['customer_id']} now",
        "unlinked": f"link of customer {change['customer_id']} taken back",
        "erased": f"customer {change['customer_id']} erased",
        "conflict": f"customers {change['customer_id']} and {change['from_id']} stay apart ({change['reason']})",
    }.get(change["kind"], f"{change['kind']}: customer {change['customer_id']}")
    return f"{what} ({len(change['nodes'])} identifiers: {kinds})"
