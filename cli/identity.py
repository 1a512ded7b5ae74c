"""`touchstream identity`: corrections of the graph by a person, through the same topic as every touchpoint."""

from typing import Annotated, Any

import typer

from cli.browse import answering, console, give_up
from cli.corrections import correct
from cli.identifiers import UnusableIdentifierError, standard_identifier
from cli.resolve import open_resolver
from services.chassis.settings import load_settings
from services.identity.adapters import load_policy
from services.identity.settings import IdentitySettings

app = typer.Typer(no_args_is_help=True, help="Corrections of who is whom.")
Given = Annotated[str, typer.Argument(metavar="KIND:VALUE", help="e.g. phone:+8613912345678")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]


@app.command()
def unlink(identifier: Given, yes: Yes = False) -> None:
    """Take an identifier out of its customer; what only it held together becomes customers of their own again."""
    _request("unlink", identifier, f"Unlink {identifier}? Customers that only it joins are parted.", yes)


@app.command()
def erase(identifier: Given, yes: Yes = False) -> None:
    """Erase the customer who has an identifier: profile and graph forget, what comes later for them is dropped.

    ClickHouse's views leave the customer out; the rows it already has stay in its tables.
    """
    _request("erase", identifier, f"Erase the customer who has {identifier}? This cannot be undone.", yes)


def _request(kind: str, identifier: str, question: str, yes: bool) -> None:
    with answering():
        settings = load_settings(IdentitySettings)
        try:
            standard = standard_identifier(identifier, load_policy(settings.policy))
        except UnusableIdentifierError as error:
            give_up(f"{identifier}: {error}")
        (known,) = open_resolver().answer([standard])
        if known.customer_id is None:
            give_up(f"nobody is known as {standard}")
        console.print(f"{standard} is customer {known.customer_id}")
        if not yes:
            typer.confirm(question, abort=True)
        changes = correct(settings, kind, [standard])
    for change in changes:
        console.print(_told(change), markup=False)
    if not changes:
        console.print("nothing changed: the identifier holds nothing together")


def _told(change: dict[str, Any]) -> str:
    kinds = ", ".join(sorted(node.partition(":")[0] for node in change["nodes"]))
    what = {
        "split": f"customer {change['customer_id']} parted from {change['from_id']}",
        "erased": f"customer {change['customer_id']} erased",
    }.get(change["kind"], f"{change['kind']}: customer {change['customer_id']}")
    return f"{what} ({len(change['nodes'])} identifiers: {kinds})"
