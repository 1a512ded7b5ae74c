"""History once more, under another policy: the same script on a Redis of its own, in the order in which it decided.

Unlike a rebuild it is compared with nothing that was sent: what it decides is the answer. Nothing is purged that the
policy would remember. Corrections of an earlier replay are left out: they follow from a policy, not from what happened.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from services.chassis.errors import Fatal
from services.chassis.logs import LimitedLogger
from services.chassis.records import Record
from services.chassis.redis.claim import Poisoned
from services.chassis.redis.client import RedisClient
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.rebuild import open_ledger
from services.chassis.redis.slots import Slot
from services.chassis.registry import Registry
from services.identity.adapters import SERVICE, TAG, Encoder, Graph
from services.identity.core.homes import parse_home
from services.identity.core.links import message_of
from services.identity.core.policy import Policy
from services.identity.handler import CHANGES, Json, Writer
from services.identity.rebuild.asking import Asking, no_read_back
from services.identity.rebuild.requests import Told, asked, links_in, request_of
from services.identity.rebuild.survey import TOPIC

# Whoever has both is a replay; a person may have the same name.
AUTHOR, EVENT_ID = "replay", "replay-"
# Touchpoints a script; larger ones gain nothing.
CHUNK = 2_000
PURGE_EVERY = 50
_SCANNED = 5_000
_KINDS = (b"conflict", b"blocked")


@dataclass(slots=True)
class Outcome:
    """What came of it. refused: kind of change, guard, nodes; nobody: touchpoints that identify nobody any more."""

    touchpoints: int = 0
    nobody: int = 0
    left_out: int = 0
    refused: set[tuple[str, str, tuple[str, ...]]] = field(default_factory=set)


class _Unheard:
    """A logger that says nothing."""

    def warning(self, event: str, **values: object) -> None:
        """Nothing."""


class _Quiet(Asking):
    """The worker, without a line for everyone whom the policy does not know: they are counted."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._limited = LimitedLogger(_Unheard())
        self.requests = {}


class Again:
    """One run, on an empty Redis."""

    def __init__(self, ledger: Ledger, policy: Policy, key: bytes, registry: Registry) -> None:
        self._ledger, self._policy = ledger, policy
        self._graph, self._writer = Graph(ledger, policy), Writer(policy, 1, registry)
        self._codes = {name: kind.code for name, kind in policy.kinds.items()}
        self._claim = open_ledger(ledger, Slot(SERVICE, 0, True), TOPIC, 0, 1)
        encode = Encoder(policy, key).encode
        self._worker = _Quiet(self._claim, ledger, self._graph, self._writer, policy, encode, no_read_back)
        self.done = Outcome()

    def run(self, told: Iterable[Told], advance: Callable[[int], object]) -> Outcome:
        """Decide everything; `advance` is told how many more are decided."""
        rest, rounds = iter(told), 0
        while chunk := list(islice(rest, CHUNK)):
            for some in _apart(chunk):
                self._step(some)
            rounds += 1
            if rounds % PURGE_EVERY == 0:
                self._graph.purge(1)
            advance(len(chunk))
        return self.done

    def _step(self, told: list[Told]) -> None:
        """Some events, or one request, whose identifiers depend on what the events before it have made."""
        first, records = self._claim.position, []
        for place, one in enumerate(told, first):
            record = Record(TOPIC, 0, place, b"", None, {}, one.log_ms)
            if one.is_request:
                if not self._ask(one, place):
                    return
            else:
                record.value = self._writer.touchpoint.encode(one.fields)
            records.append(record)
        position = first + len(records)
        self._claim.poisoned = Poisoned(allowed=position)
        entry = self._worker.step(records, {}, position, told[-1].log_ms, 0)
        self._claim.acknowledge()
        self.done.touchpoints += len(records)
        self.done.nobody += sum(1 for record in records if record.poison)
        for output in entry.outputs if entry is not None else []:
            if output.topic == CHANGES and any(kind in (output.value or b"")[:32] for kind in _KINDS):
                change = self._writer.change(output.value)
                guard = change["reason"].partition(":")[0]
                self.done.refused.add((change["kind"], guard, tuple(change["nodes"])))

    def _ask(self, told: Told, place: int) -> bool:
        """Put down what is asked; False when it means nothing here."""
        fields: Json = told.fields
        is_ours = fields["event_id"].startswith(EVENT_ID) and fields["asked"].partition(":")[0].endswith(
            f" by {AUTHOR}"
        )
        if told.what == "declined" or is_ours:
            self.done.left_out += 1
            return False
        try:
            request, named = request_of(told, self._codes, links_in(self._ledger.client))
        except (Fatal, KeyError):  # a split of which nobody can say what was asked, or a kind that is none any more
            self.done.left_out += 1
            return False
        message = message_of(fields["source"], fields["event_id"])
        self._worker.requests[place] = asked(request, named, message), fields
        return True

    def homes(self) -> Iterator[tuple[str, str]]:
        """(node text, customer) of everybody whom the graph knows now."""
        yield from homes(self._ledger.client, self._policy)


def homes(client: RedisClient, policy: Policy) -> Iterator[tuple[str, str]]:
    """(node text, customer in hex) of a whole graph without tombstones; read in pieces, not as of one moment."""
    prefix = f"{TAG}:i:".encode()
    keys = client.scan_iter(match=prefix + b"*", count=_SCANNED)
    while chunk := list(islice(keys, _SCANNED)):
        for key, raw in zip(chunk, client.mget(chunk), strict=True):
            home, name = customer_in(raw), key[len(prefix) :]
            if home is not None and name[0] in policy.by_code:
                yield f"{policy.by_code[name[0]]}:{name[1:].hex()}", home.hex()


def customer_in(raw: object) -> bytes | None:
    """The customer in what the graph keeps of an identifier (see resolve.lua); None for a tombstone or nothing."""
    return parse_home(raw).customer or None if isinstance(raw, bytes) else None


def _apart(told: list[Told]) -> Iterator[list[Told]]:
    """Runs of events, and each request by itself."""
    run: list[Told] = []
    for one in told:
        if one.is_request:
            if run:
                yield run
            yield [one]
            run = []
        else:
            run.append(one)
    if run:
        yield run
