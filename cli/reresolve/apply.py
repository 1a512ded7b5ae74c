"""Making it so: corrections through the same topic as everybody's, first what is cut, then what is joined.

Nothing is kept of how far it came. Asked again it compares again: what was done already is no difference any more.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from cli.corrections import Request
from cli.reresolve.compare import Correction
from services.chassis.ids import stable_id
from services.identity.rebuild.again import AUTHOR, EVENT_ID

# Written together and then waited for.
CHUNK = 500
UNNAMED = "no event names one of its identifiers, so it cannot be asked for"
FORMER = "its identifier was taken over or not seen for too long, and is another's now"
Send = Callable[[Sequence[Request]], Mapping[str, Sequence[Mapping[str, Any]]]]


@dataclass(slots=True)
class Applied:
    """What became of the corrections; missed: reason → those that could not be reached, as nodes."""

    unlinked: int = 0
    linked: int = 0
    missed: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)


def apply(
    cut: Sequence[Correction], made: Sequence[Correction], names: Mapping[str, str], former: AbstractSet[str],
    send: Send, reason: str, run_id: str, advance: Callable[[int], object],
) -> Applied:  # fmt: skip
    """Send them all.

    `names`: node → identifier kind:value; `former`: nodes that it names no more; run_id: makes the event ids of this
    run its own.
    """
    done = Applied()
    for some in (cut, made):
        for first in range(0, len(some), CHUNK):
            chunk = some[first : first + CHUNK]
            asked = {}
            for one in chunk:
                if not former.isdisjoint(one.nodes):
                    done.missed.setdefault(FORMER, []).append(one.nodes)
                elif all(node in names for node in one.nodes):
                    request = _request(one, names, reason, run_id)
                    asked[request.event_id] = one, request
                else:
                    done.missed.setdefault(UNNAMED, []).append(one.nodes)
            answers = send([request for _, request in asked.values()]) if asked else {}
            for event_id, (one, _) in asked.items():
                _count(done, one, answers.get(event_id, ()))
            advance(len(chunk))
    return done


def _request(one: Correction, names: Mapping[str, str], reason: str, run_id: str) -> Request:
    properties: dict[str, object] = {"author": AUTHOR, "reason": reason}
    if one.is_pair:
        properties["pair"] = True
    identifiers = tuple(names[node] for node in one.nodes)
    return Request(one.kind, identifiers, properties, f"{EVENT_ID}{stable_id(run_id, one.kind, *one.nodes)}")


def _count(done: Applied, one: Correction, changes: Sequence[Mapping[str, Any]]) -> None:
    for change in changes:
        if change["kind"] in ("conflict", "blocked", "declined"):
            guard = change["reason"].partition(":")[0]
            done.missed.setdefault(f"the graph says no: {guard}", []).append(one.nodes)
            return
    if one.kind == "link":
        done.linked += 1
    else:
        done.unlinked += 1
