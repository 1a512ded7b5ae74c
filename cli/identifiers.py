"""Identifiers as people type them, `kind:value`, in the form in which the graph knows them."""

from functools import lru_cache

from services.identity.core.policy import Policy
from services.ingest.core.identifiers import RANK, SCOPES, Identifiers
from services.ingest.core.problems import Problem
from services.ingest.core.source import Source
from services.ingest.core.standardise import Standardiser

DEFAULT_REGION = "CN"


class UnusableIdentifierError(ValueError):
    """The text names nobody the graph could know; the text of the error says why."""


@lru_cache(maxsize=8)
def _source(region: str) -> Source:
    return Source("operator", region=region)


def standard_identifier(
    text: str, policy: Policy, region: str = DEFAULT_REGION, is_blocked_allowed: bool = False
) -> str:
    """`kind:value` standardised as ingest does it: phone numbers to E.164, and so on. Raises UnusableIdentifierError.

    region: country of phone numbers without a country code (ISO 3166). A blocked value may be taken out of a customer.
    """
    kind, colon, value = text.strip().partition(":")
    value = value.strip()
    if not colon or not kind or not value:
        raise UnusableIdentifierError("expected kind:value, e.g. phone:+8613912345678")
    if kind not in policy.kinds:
        raise UnusableIdentifierError(f"unknown kind {kind}, expected one of {', '.join(policy.kinds)}")
    # A kind that only this deployment's policy knows has no standard form here.
    standard = _standardise(kind, value, region) if kind in RANK else text.strip()
    if not is_blocked_allowed and policy.is_blocked(*standard.split(":", 1)):
        raise UnusableIdentifierError(f"this {kind} is blocked by the identity policy")
    return standard


def _standardise(kind: str, value: str, region: str) -> str:
    found = Identifiers(_source(region))
    if kind in ("phone", "email"):
        Standardiser({kind: value}, found.source, found).run()
    elif kind in SCOPES:
        scope, slash, own = value.partition("/")
        if not slash:
            raise UnusableIdentifierError(f"{kind} needs its {SCOPES[kind][0]}: {kind}:<{SCOPES[kind][0]}>/{value}")
        found.add(kind, own, kind, scope)
    else:
        found.add(kind, value, kind)
    ranked = found.ranked()
    if not ranked:
        problem: Problem | None = found.problems[0] if found.problems else None
        raise UnusableIdentifierError(problem.message if problem else f"no usable {kind}")
    return ranked[0]
