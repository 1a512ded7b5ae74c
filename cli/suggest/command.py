"""`touchstream identity suggest`: the list, and a person's answers to it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.browse import answering, complaints, console, give_up
from cli.corrections import correct, os_user
from cli.resolve import open_look_up
from cli.sides import Sides, UndecidableError
from cli.suggest.decide import answer, from_list
from cli.suggest.explain import Reason
from cli.suggest.pairs import MissingLibrariesError, libraries, suggestion, suggestions
from cli.suggest.population import COUNT, MANY_CUSTOMERS, Population, load_population, need
from cli.suggest.show import Display, card, listed
from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.settings import load_settings
from services.identity.adapters import load_policy
from services.identity.settings import IdentitySettings

if TYPE_CHECKING:
    from cli.suggest.model import Model

TIMEOUT_S = 600
LISTED = 50
LEAST_SCORE = 0.8

app = typer.Typer(help="Customers who are probably one person without sharing an identifier.")
Given = Annotated[str, typer.Argument(metavar="CUSTOMER", help="customer id, or any identifier KIND:VALUE")]
Other = Annotated[str, typer.Argument(metavar="CUSTOMER", help="the other one, likewise")]
Why = Annotated[str, typer.Option("--reason", help="why, in your words; kept with the score and its reasons")]
Author = Annotated[str, typer.Option("--author", help="who says so; otherwise the user of this machine")]
From = Annotated[
    Path | None, typer.Option("--from", help="a list of `suggest --json`; otherwise the score is computed anew")
]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]


@app.callback(invoke_without_command=True)
def suggest(
    context: typer.Context,
    least_score: Annotated[
        float, typer.Option("--min-score", min=0.01, max=1, help="probability from which a pair is shown")
    ] = LEAST_SCORE,
    most: Annotated[int, typer.Option("--limit", min=1, help="pairs in the list; --json prints all")] = LISTED,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line and pair")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="also with more customers than this is made for")] = False,
) -> None:
    """List pairs of customers who are probably one person, the surest first. Nothing is changed.

    `suggest accept` makes two customers one, `suggest refuse` keeps the pair from coming back.
    """
    if context.invoked_subcommand:
        return
    began_s = time.monotonic()
    with _answering():
        settings = load_settings(IdentitySettings)
        with Display(complaints) as display:
            population, model = _trained(connect(settings, TIMEOUT_S), settings, display, yes)
        found = suggestions(population, model, least_score)
        if as_json:
            for one in found:
                print(json.dumps(one.as_json(), ensure_ascii=False))
            return
        shown = list(islice(found, most))
        console.print(listed(shown, sum(1 for _ in found), model.learned, time.monotonic() - began_s))


@app.command()
def accept(
    first: Given, second: Other, why: Why = "", author: Author = "", from_: From = None, yes: Yes = False
) -> None:
    """Make two customers one: a link event with its author, the score and the reasons."""
    _decide("link", "Make them one customer?", (first, second), why, author, from_, yes)


@app.command()
def refuse(
    first: Given, second: Other, why: Why = "", author: Author = "", from_: From = None, yes: Yes = False
) -> None:
    """Never suggest these two again. Changes neither of them."""
    _decide("refuse", "Never suggest them again?", (first, second), why, author, from_, yes)


def _decide(
    kind: str, question: str, given: tuple[str, str], why: str, author: str, from_: Path | None, yes: bool
) -> None:
    with _answering():
        settings = load_settings(IdentitySettings)
        policy, key = load_policy(settings.policy), settings.identifier_key_bytes()
        store = connect(settings, TIMEOUT_S)
        sides = Sides(store, open_look_up(), policy, key)
        first, second = sides.find(given[0]), sides.find(given[1])
        if first.customer_id == second.customer_id:
            give_up(f"both are customer {first.customer_id}")
        if from_ is not None:
            score, reasons = from_list(from_, first.customer_id, second.customer_id)
            console.print(f"{score:.2%}  " + "; ".join(map(str, reasons)), markup=False)
        else:
            score, reasons = _scored(store, settings, first.customer_id, second.customer_id, yes)
        console.print(f"{first.identifier} and {second.identifier}", markup=False)
        if not yes:
            typer.confirm(question, abort=True)
        changes = correct(
            settings, kind, [first.identifier, second.identifier], answer(author or os_user(), why, score, reasons)
        )
    tell(kind, changes)


def tell(kind: str, changes: Sequence[Mapping[str, Any]]) -> None:
    """What identity made of an answer; exit code 1 when a guard of its policy kept the two apart."""
    for change in changes:
        of = f" (with {change['from_id']})" if change["from_id"] else ""
        console.print(f"{change['kind']}: customer {change['customer_id']}{of}: {change['reason']}", markup=False)
    if kind == "link" and not any(change["kind"] in ("merged", "linked") for change in changes):
        give_up("not linked: a guard of the identity policy says no")
    if kind == "refuse" and not changes:
        console.print("nothing changed: it had been refused before")


def _scored(
    store: Clickhouse, settings: IdentitySettings, first: str, second: str, is_large_allowed: bool
) -> tuple[float, list[Reason]]:
    with Display(complaints) as display:
        population, model = _trained(store, settings, display, is_large_allowed)
    if why_not := population.why_not(first, second):
        give_up(f"{first} and {second}: {why_not}. `touchstream identity link` asks no score")
    try:
        found = suggestion(population, model.score(first, second))
    except KeyError as error:
        give_up(f"customer {error.args[0]} is not yet in ClickHouse: try again in a second")
    console.print(card(found))
    return found.score, found.reasons


def _trained(
    store: Clickhouse, settings: IdentitySettings, display: Display, is_large_allowed: bool
) -> "tuple[Population, Model]":
    make_row, make_model = libraries()
    count = store.query_rows(COUNT)[0]["n"]
    if count > MANY_CUSTOMERS:
        told = f"{count:,} customers need at least {need(count)} here, and minutes"
        if not is_large_allowed:
            give_up(f"{told}: --yes if there is so much (accept and refuse take --from a list that was kept)")
        complaints.print(told, markup=False)
    population = Population()
    for read, population in load_population(store, load_policy(settings.policy), make_row):  # noqa: B007
        display.read(read, count)
    model = make_model(population.rows, display.compare)
    model.train()
    return population, model


@contextmanager
def _answering() -> Iterator[None]:
    with answering():
        try:
            yield
        except (MissingLibrariesError, UndecidableError) as error:
            give_up(str(error))
