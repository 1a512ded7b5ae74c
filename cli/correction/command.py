"""Wiring of `touchstream correction`: request → approval by another person → touchpoint of the source "operator"."""

import json
import uuid
from enum import Enum
from typing import Annotated, Any, NoReturn

import typer

from cli.browse import MIN_ID_CHARS, answering, console, give_up
from cli.correction.apply import NotTheirsError, apply, customer_now, traits_now
from cli.correction.fields import RefusedError, changes, overtaken, parse
from cli.correction.show import as_json, card, listed, said
from cli.correction.steps import APPLIED, APPROVED, REFUSED, REQUESTED, Correction, Step, load, save
from cli.corrections import os_user
from cli.identifiers import DEFAULT_REGION
from cli.resolve import open_look_up
from cli.sides import Sides, UndecidableError
from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.settings import load_settings
from services.identity.adapters import load_policy
from services.identity.settings import IdentitySettings

app = typer.Typer(no_args_is_help=True, help="Corrections of profiles by staff: one asks, another one approves.")
Id = Annotated[str, typer.Argument(metavar="ID", help="the correction, or how its id begins")]
Author = Annotated[str, typer.Option("--author", metavar="WHO", help="who you are; kept with the step")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object a line")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]


class State(str, Enum):  # noqa: UP042 - typer shows the values of a str enum
    """Where a correction stands."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REFUSED = "refused"
    APPLIED = "applied"


@app.command()
def request(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER|KIND:VALUE", help="whose profile")],
    texts: Annotated[list[str], typer.Argument(metavar="FIELD=VALUE…", help="FIELD:=JSON for numbers, lists, null")],
    reason: Annotated[str, typer.Option("--reason", help="why; kept")],
    author: Author,
    region: Annotated[str, typer.Option(help="country of phone numbers without a country code")] = DEFAULT_REGION,
) -> None:
    """Ask for a correction. It is checked and standardised at once, by the rules of ingest, and changes nothing yet."""
    _named(author, reason)
    with answering():
        settings = load_settings(IdentitySettings)
        store = connect(settings)
        try:
            given = parse(texts)
            sides = Sides(store, open_look_up(), load_policy(settings.policy), settings.identifier_key_bytes())
            whose = sides.find(customer)
            found = changes(given, _traits(store, whose.customer_id), region)
        except (RefusedError, UndecidableError) as error:
            give_up(f"not asked for: {error}")
        kept = json.dumps([one.as_json() for one in found], ensure_ascii=False)
        step = Step(
            str(uuid.uuid4()), REQUESTED, author, os_user(), whose.customer_id, whose.identifier, kept, reason
        )  # fmt: skip
        save(store, step)
    for one in found:
        console.print(said(one, False), markup=False)
    console.print(f"correction {step.id} is requested; another person approves it", markup=False, soft_wrap=True)


@app.command(name="list")
def list_(
    state: Annotated[State | None, typer.Option("--state", help="only those")] = None, as_json_: AsJson = False
) -> None:
    """List corrections, oldest first; values masked where they may be personal."""
    with answering():
        found = [one for one in load(_store()) if state is None or one.state == state.value]
    if as_json_:
        for one in found:
            print(json.dumps(as_json(one, True), ensure_ascii=False))
    elif found:
        console.print(listed(found))
    else:
        console.print("nothing found")


@app.command()
def show(id_: Id, as_json_: AsJson = False) -> None:
    """Show a correction and all its steps, with its values in plain text."""
    with answering():
        one = _find(_store(), id_)
    if as_json_:
        print(json.dumps(as_json(one, False), ensure_ascii=False))
    else:
        console.print(card(one), markup=False, soft_wrap=True)


@app.command()
def approve(
    id_: Id, author: Author, reason: Annotated[str, typer.Option("--reason", help="kept")] = "", yes: Yes = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="also what was said since it was asked for")] = False,
    same_account: Annotated[bool, typer.Option("--same-account", help="two people share this account")] = False,
) -> None:  # fmt: skip
    """Approve a correction that somebody else asked for, and apply it at once.

    The profile is read again: what it came to say since the request is not overwritten without --overwrite.
    Should the second half fail, `correction apply` does it; twice is once.
    """
    _named(author)
    with answering():
        store = _store()
        one, customer_id = _checked(store, id_, APPROVED, author, same_account)
        profile = _traits(store, customer_id)
        console.print(card(one, profile), markup=False, soft_wrap=True)
        if (since := overtaken(one.changes, profile)) and not overwrite:
            fields = ", ".join(change.field for change in since)
            _refused(APPROVED, f"the profile says something else of {fields} by now: refuse it, or --overwrite")
        if not yes:
            typer.confirm("Approve it?", abort=True)
        step = _step(one, APPROVED, author, customer_id, reason)
        save(store, step)
        one = _find(store, one.request.id)
        if one.decision is None or (one.decision.step, one.decision.author) != (APPROVED, author):
            by = one.decision.author if one.decision else "nobody"
            give_up(f"somebody was faster: it is {one.state} (by {by})")
        _apply(store, one, customer_id, step)


@app.command(name="apply")
def apply_(id_: Id, author: Annotated[str, typer.Option("--author", metavar="WHO")] = "") -> None:
    """Apply an approved correction whose application was interrupted. Twice is once."""
    with answering():
        store = _store()
        one, customer_id = _checked(store, id_, APPLIED, author)
        _apply(store, one, customer_id, _step(one, APPLIED, author or os_user(), customer_id, ""))


@app.command()
def refuse(id_: Id, reason: Annotated[str, typer.Option("--reason", help="why; kept")], author: Author = "") -> None:
    """Refuse a correction; also by who asked for it, which takes it back."""
    _named(author or os_user(), reason)
    with answering():
        store = _store()
        one = _find(store, id_)
        if why_not := one.why_not(REFUSED, author, os_user()):
            give_up(f"not refused: {why_not}")
        save(store, _step(one, REFUSED, author or os_user(), one.request.customer_id, reason))
        one = _find(store, one.request.id)
    console.print(f"correction {one.request.id} is {one.state}", markup=False, soft_wrap=True)


def _apply(store: Clickhouse, one: Correction, customer_id: str, step: Step) -> None:
    apply(store, load_settings(IdentitySettings), one, customer_id, step)
    console.print(f"correction {one.request.id} is applied to customer {customer_id}", markup=False, soft_wrap=True)


def _checked(
    store: Clickhouse, id_: str, step: str, author: str, is_account_shared: bool = False
) -> tuple[Correction, str]:
    """The correction, when the step may be taken, and whose it is now; gives up otherwise."""
    one = _find(store, id_)
    if why_not := one.why_not(step, author, os_user(), is_account_shared):
        give_up(f"not {step}: {why_not}")
    try:
        return one, customer_now(store, open_look_up(), one.request)
    except NotTheirsError as error:
        _refused(step, str(error))


def _refused(step: str, why: str) -> NoReturn:
    give_up(f"not {step}: {why}")


def _step(one: Correction, step: str, author: str, customer_id: str, reason: str) -> Step:
    return Step(one.request.id, step, author, os_user(), customer_id, one.request.identifier, "[]", reason)


def _traits(store: Clickhouse, customer_id: str) -> dict[str, Any]:
    found = traits_now(store, customer_id)
    if found is None:
        give_up(f"customer {customer_id} is not yet in ClickHouse: try again in a second")
    return found


def _find(store: Clickhouse, beginning: str) -> Correction:
    found = load(store, beginning.strip().lower()) if len(beginning.strip()) >= MIN_ID_CHARS else []
    if len(found) != 1:
        give_up(f"{beginning}: {len(found)} corrections begin like this; give {MIN_ID_CHARS} characters or more of one")
    return found[0]


def _named(*texts: str) -> None:
    if not all(text.strip() for text in texts):
        raise typer.BadParameter("--author and --reason are kept: they may not be empty")


def _store() -> Clickhouse:
    return connect(load_settings(IdentitySettings))
