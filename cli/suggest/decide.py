"""`accept` and `refuse`: a person's answer to a suggestion, as a touchpoint with one identifier of each side."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cli.sides import UndecidableError
from cli.suggest.explain import Reason

# A reason is cut at 500 characters where it is told; what speaks loudest comes first.
MAX_REASONS = 5


def answer(author: str, why: str, score: float, reasons: Iterable[Reason]) -> dict[str, object]:
    """The properties of the touchpoint."""
    words = "; ".join(str(reason) for reason in list(reasons)[:MAX_REASONS])
    said = f"{why}. " if why else ""
    return {"author": author, "reason": f"{said}Suggested with {score:.2%}: {words}", "score": score}


def from_list(path: Path, first: str, second: str) -> tuple[float, list[Reason]]:
    """Score and reasons of a pair in a list that `suggest --json` wrote. Raises UndecidableError."""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            one: dict[str, Any] = json.loads(line)
            if {customer["customer_id"] for customer in one["customers"]} == {first, second}:
                return one["score"], [Reason(r["comparison"], r["says"], r["weight"]) for r in one["reasons"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UndecidableError(f"{path} is no list of `suggest --json`: {error}") from error
    raise UndecidableError(f"{path} does not hold {first} and {second}; without --from the score is computed")
