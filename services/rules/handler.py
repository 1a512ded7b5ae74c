"""Order of effects of rules: read a batch, load its customers in one round trip, let core decide, collect it all."""

from collections.abc import Callable, Iterable
from typing import Protocol

from services.chassis.errors import Fatal, Poison
from services.chassis.kafka.dead_letter import dead_letter
from services.chassis.logs import get_logger, limited
from services.chassis.metrics import show_size
from services.chassis.records import Decision, Output, Record
from services.chassis.redis.slots import Slot
from services.rules import metrics
from services.rules.adapters import SERVICE, HandoverKeys, Wire
from services.rules.core.evaluate import RuleIndex, is_handover
from services.rules.core.model import Change, Fires, Outcome, Reason
from services.rules.core.round import HANDOVERS, TOOK, Round
from services.rules.core.state import Customer, StateError, pack, unpack

Batch = list[tuple[Change, bytes]]


class Store(Protocol):
    """What is read from Redis."""

    def get_many(self, keys: list[str]) -> list[bytes | None]: ...


class RulesHandler:
    """The rules of one claimed partition. Keeps nothing between rounds; `waits` is the claim's, only read here."""

    def __init__(
        self, slot: Slot, store: Store, waits: dict[str, str], current_rules: Callable[[], RuleIndex], wire: Wire
    ) -> None:
        self._slot, self._store, self._waits = slot, store, waits
        self._current_rules, self._wire = current_rules, wire
        self._keys = HandoverKeys(slot, wire.partitions)
        show_size(metrics.WAITING.labels(str(slot.partition)), self, lambda handler: len(handler._waits))
        self._limited = limited(get_logger())

    def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
        """Everything the batch changes; None when there was nothing to do.

        `ticks` is always empty: no rule sets timers. Raises Fatal when a stored state or a hand-over cannot be read.
        """
        rules = self._current_rules()  # once: one version for the whole batch
        decision = Decision()
        batch = self._read(records, rules, decision.outputs, now_ms)
        if not batch and not self._waits:
            return decision if records else None
        stored, given = self._load(batch, rules)
        customers = {customer_id: self._unpack(blob) for customer_id, blob in stored.items()}
        round_ = Round(rules, customers, given, self._keys, self._wire.read_change)
        round_.release()
        for change, value in batch:
            round_.take(change, value)
        round_.release()
        for change, outcome in round_.outcomes:
            decision.outputs += self._triggers(change, outcome, now_ms)
        self._store_states(round_, stored, decision)
        return decision if records or decision.sets or decision.deletes else None

    def _read(self, records: list[Record], rules: RuleIndex, dead: list[Output], now_ms: int) -> Batch:
        """The changes that some rule names or that change rule state; what cannot be read is added to `dead`."""
        batch: Batch = []
        skipped = not_named = 0
        for record in records:
            if not rules.cares(record.headers.get("when")) and not record.poison:
                skipped += 1
                continue
            try:
                change = self._change(record)
            except Poison as poison:
                wire = self._wire
                dead.append(dead_letter(record, SERVICE, str(poison), wire.partitions, wire.registry, now_ms))
                continue
            if change.kind in HANDOVERS or rules.candidates(change):
                batch.append((change, record.value or b""))
            else:
                not_named += 1
        metrics.SKIPPED.inc(skipped)
        metrics.NOT_NAMED.inc(not_named)
        metrics.EVALUATED.inc(len(batch))
        return batch

    def _change(self, record: Record) -> Change:
        """Raises Poison for what may be left out, Fatal for what cannot be read and may be a hand-over.

        A hand-over is tried again and again: left out, its taker would wait for ever, and what was given be forgotten.
        """
        when = record.headers.get("when")
        is_skippable = when is not None and not is_handover(when)
        try:
            if record.poison and is_skippable:
                raise Poison(record.poison)
            change = self._wire.read_change(record.value)
        except Poison as error:
            if is_skippable:
                raise
            raise Fatal(
                f"{record.topic} partition {record.partition} offset {record.offset}: {error}. Header `when`"
                f" {'is missing, so it may be' if when is None else 'says that it is'} a hand-over, and without it a"
                " customer would wait for ever: the line is stopped and nothing is lost. Written by a newer release?"
                " Upgrade rules and start it again. Not written by profile? Find out who writes to this topic."
            ) from error
        if record.poison and change.kind not in HANDOVERS:
            raise Poison(record.poison)
        return change

    def _load(self, batch: Batch, rules: RuleIndex) -> tuple[dict[str, bytes | None], dict[str, Fires]]:
        """(stored states of the customers whose state matters, hand-overs that are there), in one round trip.

        A second one follows only when a hand-over came that some customer had been waiting for in earlier batches.
        """
        names = dict.fromkeys(
            change.customer_id
            for change, _ in batch
            if change.kind in HANDOVERS
            or change.customer_id in self._waits
            or any(rule.remembers for rule in rules.candidates(change))
        )
        handovers = dict.fromkeys(self._waits.values())
        for change, _ in batch:
            if change.kind == TOOK:
                handovers[self._keys.take(change.handoff_id, change.from_id, change.customer_id)] = None
        blobs = self._get([*(self._slot.key("c", name) for name in names), *handovers])
        stored = dict(zip(names, blobs, strict=False))
        given: dict[str, Fires] = {
            key: self._unpack(blob).fires
            for key, blob in zip(handovers, blobs[len(names) :], strict=True)
            if blob is not None
        }
        freed = [name for name, key in self._waits.items() if key in given and name not in stored]
        stored.update(zip(freed, self._get([self._slot.key("c", name) for name in freed]), strict=True))
        return stored, given

    def _get(self, keys: list[str]) -> list[bytes | None]:
        return self._store.get_many(keys) if keys else []

    def _unpack(self, blob: bytes | None) -> Customer:
        try:
            return unpack(blob)
        except StateError as error:
            raise Fatal(
                f"rules partition {self._slot.partition}: {error}. A newer version of this service has written here:"
                " start that version again, or restore Redis from a backup."
            ) from error

    def _triggers(self, change: Change, outcome: Outcome, now_ms: int) -> Iterable[Output]:
        for held in outcome.suppressed:
            metrics.SUPPRESSED.labels(held.rule.name, held.reason.value).inc()
            if held.reason is Reason.CONDITION_ERROR:
                metrics.ERRORS.labels(held.rule.name, held.error).inc()
                # The change itself stays in profile.changes: its place finds it, and holds no customer data.
                self._limited.warning("rule.failed", rule=held.rule.name, kind=held.error, cause=change.cause)
        for fire in outcome.fired:
            metrics.FIRED.labels(fire.rule.name).inc()
            if change.accepted_at:
                metrics.FIRED_S.observe(max(0, now_ms - change.accepted_at) / 1000)
        return [self._wire.trigger(fire, change, now_ms) for fire in outcome.fired]

    def _store_states(self, round_: Round, stored: dict[str, bytes | None], decision: Decision) -> None:
        for customer_id, customer in round_.states().items():
            key, before = self._slot.key("c", customer_id), stored.get(customer_id)
            if customer.is_empty:
                if before is not None:
                    decision.deletes.append(key)
            else:
                blob = pack(customer.fires, customer.queue, customer.wait)
                if blob != before:
                    decision.sets[key] = blob
            if customer.wait != self._waits.get(customer_id, ""):
                decision.waits[customer_id] = customer.wait or None
        for key, fires in round_.gives.items():
            decision.sets[key] = pack(fires)
            metrics.HANDOVERS.labels("gave").inc()
        decision.late_deletes += round_.taken
        if round_.taken:
            metrics.HANDOVERS.labels("took").inc(len(round_.taken))
