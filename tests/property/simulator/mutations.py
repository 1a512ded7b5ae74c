"""One safeguard missing each: patches of production code and of script text."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

from services.chassis.kafka import line
from services.chassis.records import Entry, Output, Record
from services.chassis.redis import ledger as ledger_module
from services.chassis.redis.claim import Claim, Verdict, accept
from services.chassis.redis.ledger import LedgerPort
from services.chassis.testing.fake_kafka import FakeBroker
from services.chassis.testing.fake_ledger import FakeLedger
from services.identity import adapters as identity_adapters
from services.identity import handler as identity_handler
from services.profile import codec as profile_codec
from services.profile import handler as profile_handler
from services.profile.core.customer_log import CustomerState
from services.rules.core import limits
from services.rules.core.model import Change
from services.rules.core.round import Round
from tests.property.simulator import pipeline

Mutation = Callable[[], AbstractContextManager[Any]]


def script(name: str, old: str, new: str, count: int = 1) -> Mutation:
    """Other text in a Lua script."""
    right = ledger_module.script_text

    def mutated(package: str, asked: str) -> str:
        text = right(package, asked)
        if asked == name:
            assert text.count(old) == count, "the script has changed: this mutant needs another place"
            text = text.replace(old, new)
        return text

    @contextmanager
    def mutation() -> Iterator[None]:
        with (
            patch.object(ledger_module, "script_text", mutated),
            patch.object(identity_adapters, "script_text", mutated),
        ):
            yield

    return mutation


def ledger(of: type[FakeLedger]) -> Mutation:
    """Processes with another ledger."""
    return lambda: patch.object(pipeline, "LEDGER", [of])


def attribute(owner: object, name: str, value: object) -> Mutation:
    """Another value of something in production."""
    return lambda: patch.object(owner, name, value)


class NeverLooks(FakeLedger):
    """An idle owner does not ask whether it still is the owner."""

    def touch(self, claim: Claim) -> None:
        if claim.acknowledged:
            super().touch(claim)


class PopsTimersFirst(FakeLedger):
    """A timer is taken out when it is read, before what it causes is applied."""

    def due(self, slot: Any, now_ms: int, limit: int) -> list[str]:
        found = super().due(slot, now_ms, limit)
        for member in found:
            self.connection.execute_command("ZREM", slot.due, member)
        return found


def takes_everything(seen: dict[str, int], record: Record) -> Verdict:
    """A duplicate is taken again."""
    verdict = accept(seen, record)
    return Verdict.TAKE if verdict is Verdict.DUPLICATE else verdict


def overlooks_gaps(seen: dict[str, int], record: Record) -> Verdict:
    """A missing number is passed over."""
    verdict = accept(seen, record)
    if verdict is Verdict.GAP:
        source, _, number = record.headers["seq"].decode().partition(":")
        seen[source] = int(number)
        return Verdict.TAKE
    return verdict


@contextmanager
def loses_a_record(topic: str, notices: bool = True) -> Iterator[None]:
    """The broker acknowledges a record and forgets it; without `notices` nobody looks at the numbers."""
    right = FakeBroker.append

    def append(self: FakeBroker, record: Record) -> None:
        if record.topic == topic:
            found = self.__dict__["lost"] = self.__dict__.get("lost", 0) + 1
            if found == 5:
                return
        right(self, record)

    with (
        patch.object(FakeBroker, "append", append),
        patch.object(line, "accept", accept if notices else overlooks_gaps),
    ):
        yield


@contextmanager
def writes_events(change: Callable[[list[Output]], list[Output]]) -> Iterator[None]:
    """Something is done to what identity sends."""
    right = identity_handler.Writer.outputs

    def outputs(self: identity_handler.Writer, *args: Any) -> list[Output]:
        return change(right(self, *args))

    with patch.object(identity_handler.Writer, "outputs", outputs):
        yield


def drops_one(outputs: list[Output]) -> list[Output]:
    """Of three events in a batch the last is lost."""
    events = [output for output in outputs if ("kind", b"event") in output.headers]
    return [output for output in outputs if len(events) < 3 or output is not events[-1]]


def doubles_one(outputs: list[Output]) -> list[Output]:
    """Of three events in a batch the last is sent twice."""
    events = [output for output in outputs if ("kind", b"event") in output.headers]
    return outputs + events[2:3]


@contextmanager
def remembers_messages_apart() -> Iterator[None]:
    """Message ids are marked in a step of their own, before the batch is applied."""
    right = identity_handler.IdentityWorker.step

    def step(self: Any, records: list[Record], *args: Any) -> Entry | None:
        kept = []
        for record in records:
            asked = self._ask(record, 0, {})
            times = self._ledger.client.hincrby("{identity}:pre", asked.message.hex(), 1)
            if times == 1 or record.poison:
                kept.append(record)
        return right(self, kept, *args)

    with patch.object(identity_handler.IdentityWorker, "step", step):
        yield


@contextmanager
def names_hand_overs_by_client() -> Iterator[None]:
    """A hand-over is named after the client's message id instead of its place in the log."""
    right = identity_handler.Writer._other

    def other(self: Any, act: Any, touchpoint: dict[str, Any], place: str) -> Output:
        return right(self, act, touchpoint, touchpoint["event_id"])

    with patch.object(identity_handler.Writer, "_other", other):
        yield


@contextmanager
def keeps_its_cache() -> Iterator[None]:
    """What a process knew of a partition is believed again when the partition comes back."""
    right, kept = profile_handler.ProfileHandler.__init__, WeakKeyDictionary[LedgerPort, dict[int, Any]]()

    def init(self: Any, slot: Any, store: LedgerPort, *args: Any) -> None:
        right(self, slot, store, *args)
        self._cache = kept.setdefault(store, {}).setdefault(slot.partition, self._cache)

    with patch.object(profile_handler.ProfileHandler, "__init__", init):
        yield


@contextmanager
def holds_in_memory() -> Iterator[None]:
    """What came before its turn is kept in memory only."""
    right = profile_handler.encode_state

    def encode(value: object) -> bytes:
        if isinstance(value, CustomerState):
            value = CustomerState(value.n, value.rev, value.parts, value.conclusion, {}, value.wait, value.due_ms)
        return right(value)

    with patch.object(profile_handler, "encode_state", encode):
        yield


@contextmanager
def anchors_by_client() -> Iterator[None]:
    """An event is known by the client's message id, which may come again."""
    right = profile_codec.contribution

    def contribution(touchpoint: dict[str, Any], place: str) -> Any:
        return right(touchpoint, touchpoint["event_id"])

    with patch.object(profile_codec, "contribution", contribution):
        yield


@contextmanager
def rules_never_wait() -> Iterator[None]:
    """A customer whose hand-over is not there yet goes on without it."""
    right = Round._adopt

    def adopt(self: Any, work: Any, change: Change) -> bool:
        adopted = right(self, work, change)
        work.wait = ""
        return adopted or True

    with patch.object(Round, "_adopt", adopt):
        yield


@contextmanager
def rules_hand_nothing_over() -> Iterator[None]:
    """Who takes over begins with what it has fired itself."""
    with patch.object(limits, "merge", lambda ours, theirs: ours):
        yield


def random_id(*parts: str) -> str:
    """Another one every time."""
    return uuid.uuid4().hex
