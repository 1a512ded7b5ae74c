"""`touchstream resolve`: which customers identifiers belong to."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import typer

from cli.identifiers import DEFAULT_REGION, UnusableIdentifierError, standard_identifier
from services.chassis.errors import Fatal, Retriable
from services.chassis.settings import SettingsError, load_settings
from services.identity.adapters import Lookup, load_policy
from services.identity.core.policy import Policy
from services.identity.settings import IdentitySettings

# One question to the graph holds at most this many identifiers.
CHUNK = 1_000
READ_BYTES = 65_536
LookUp = Callable[[list[str]], list[str | None]]


@dataclass(frozen=True, slots=True)
class Resolved:
    """An identifier as it was given, and whose it is; `error` says why it can be nobody's."""

    identifier: str
    customer_id: str | None
    error: str = ""

    def as_json(self) -> str:
        """The line of the fixed interface."""
        line: dict[str, str | None] = {"identifier": self.identifier, "customer_id": self.customer_id}
        return json.dumps(line | ({"error": self.error} if self.error else {}), ensure_ascii=False)


class Resolver:
    """Answers in the order of the questions."""

    def __init__(self, policy: Policy, look_up: LookUp, region: str = DEFAULT_REGION) -> None:
        self._policy, self._look_up, self._region = policy, look_up, region

    def answer(self, identifiers: Sequence[str]) -> list[Resolved]:
        """One question to the graph. Raises Retriable when it does not answer."""
        standard: list[str] = []
        errors: dict[int, str] = {}
        for place, text in enumerate(identifiers):
            try:
                standard.append(standard_identifier(text, self._policy, self._region))
            except UnusableIdentifierError as error:
                errors[place] = str(error)
        found = iter(self._look_up(standard))
        return [
            Resolved(text, None, errors[place]) if place in errors else Resolved(text, next(found))
            for place, text in enumerate(identifiers)
        ]

    def answers(self, identifiers: Iterable[str]) -> Iterator[Resolved]:
        """Any number of them, a question per CHUNK."""
        rest = iter(identifiers)
        while chunk := list(islice(rest, CHUNK)):
            yield from self.answer(chunk)


def open_resolver(region: str = DEFAULT_REGION) -> Resolver:
    """A resolver for the deployment that the environment names. Raises SettingsError, Fatal."""
    policy = load_policy(load_settings(IdentitySettings).policy)
    return Resolver(policy, open_look_up(), region)


def open_look_up() -> LookUp:
    """Customer ids of standardised identifiers, in the deployment that the environment names."""
    settings = load_settings(IdentitySettings)
    return Lookup(settings.redis_url, load_policy(settings.policy), settings.identifier_key_bytes()).customers_of


def resolve(identifiers: Iterable[str]) -> list[str | None]:
    """Customer ids of `kind:value` texts in their order; None for unknown, erased and unusable ones.

    Raises SettingsError, Fatal, or Retriable when the graph does not answer.
    """
    return [one.customer_id for one in open_resolver().answers(identifiers)]


def resolve_command(
    region: Annotated[str, typer.Option(help="country of phone numbers without a country code")] = DEFAULT_REGION,
) -> None:
    """Read identifiers kind:value from stdin, one a line; print a JSON line {identifier, customer_id} for each.

    Answers come in the order of the questions, as soon as the lines are there; customer_id is null for an identifier
    that nobody has, and `error` says so when it is none.
    """
    try:
        resolver = open_resolver(region)
        for lines in _arriving():
            for one in resolver.answers(line for line in lines if line.strip()):
                print(one.as_json())
            sys.stdout.flush()
    except (SettingsError, Fatal, Retriable) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def _read() -> bytes:
    return os.read(0, READ_BYTES)


def _arriving() -> Iterator[list[str]]:
    """Lines of stdin as they arrive: a program that asks one thing and waits for the answer must not wait for ever."""
    rest = b""
    while block := _read():
        *whole, rest = (rest + block).split(b"\n")
        if whole:
            yield [line.decode(errors="replace").rstrip("\r") for line in whole]
    if rest:
        yield [rest.decode(errors="replace")]
