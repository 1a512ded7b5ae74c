"""Order of effects of profile: load the batch's customers in one round trip, work off their logs, one Decision."""

from collections.abc import Callable

import msgspec

from services.chassis.errors import Fatal, Poison
from services.chassis.kafka.dead_letter import dead_letter
from services.chassis.logs import get_logger, limited
from services.chassis.metrics import show_size
from services.chassis.records import Decision, Output, Record
from services.chassis.redis.ledger import LedgerPort
from services.chassis.redis.slots import Slot
from services.chassis.registry import Registry, open_registry
from services.profile import metrics
from services.profile.backfill import Asked
from services.profile.cache import Cache
from services.profile.codec import ProfileWriter, Reader, count, unrated_in
from services.profile.core import customer_log as log
from services.profile.core.config import ProfileConfig
from services.profile.core.customer_log import Context, CustomerState, Fact, Held, LogRecord
from services.profile.core.state import Thresholds
from services.profile.core.timers import next_due_ms, untils_ms
from services.profile.handovers import Handovers
from services.profile.states import Packer, encode_state

SERVICE = "profile"
KINDS = frozenset((b"event", b"give", b"take", b"erase"))
FOREIGN = "its key or its headers kind, n and src are none that identity writes: not written by identity"


class Batch:
    """The states one decision works on, and what comes out of it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.states: dict[str, CustomerState] = {}
        self.ended: dict[str, CustomerState] = {}
        self.facts: list[Fact] = []
        self.dead: list[Output] = []


class ProfileHandler:
    """One claimed partition of `touchpoints.resolved` (see chassis.kafka.line.PartitionHandler)."""

    def __init__(
        self, slot: Slot, store: LedgerPort, waits: dict[str, str], config: ProfileConfig, partitions: int,
        thresholds: Callable[[], Thresholds | None], cache_customers: int,
        registry: Registry | None = None, import_quiet_ms: int = 60_000,
    ) -> None:  # fmt: skip
        """import_quiet_ms: how long no event of an import with its own clock comes before the import counts as over."""
        self.refolds: Asked = {}  # what a backfill has brought for customers who are looked at next
        self._slot, self._store, self._waits = slot, store, waits
        self._config, self._partitions, self._thresholds = config, partitions, thresholds
        self._packer = Packer()
        self._cache = Cache(max(cache_customers, 10_000))
        known = registry if registry is not None else open_registry()
        self._registry, self._reader, self._writer = known, Reader(known), ProfileWriter(partitions, known)
        self._handovers = Handovers(store, self._reader, partitions)
        self._import_quiet_ms, self._import_ms = import_quiet_ms, -1
        self._limited = limited(get_logger())
        show_size(metrics.WAITING.labels(str(slot.partition)), self, lambda handler: len(handler._waits))

    def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
        """See PartitionHandler. Raises Fatal when a customer's log contradicts itself."""
        mine = [record for record in records if is_of_identity(record)]
        owners = [record.key.decode() for record in mine]
        try:
            takes = [record for record in mine if record.headers["kind"] == b"take"]
            handed_over = self._handovers.load(takes, self._waits.values())
        except Poison as error:
            raise Fatal(
                f"touchpoints.resolved partition {self._slot.partition}: a take cannot be read: {error}"
            ) from error
        ready = [name for name, key in self._waits.items() if key in handed_over]
        if not records and not ticks and not ready:
            return None
        self._load(list(dict.fromkeys([*owners, *ticks, *ready])))
        context = Context(now_ms, self._config, self._thresholds(), self._handovers.key, self._decode_held, handed_over)
        context.is_import_over = self._is_import_over(now_ms)
        batch = Batch(context)
        if len(mine) < len(records):
            foreign = [record for record in records if not is_of_identity(record)]
            batch.dead += [self._dead_letter(record, FOREIGN, now_ms) for record in foreign]
        try:
            self._tick(batch, ticks)
            for name, record in zip(owners, mine, strict=True):
                self._work(batch, name, record)
            for name in ready:
                if name not in batch.ended:
                    self._drain(batch, name, self._state(batch, name))
        except (log.LogError, Poison) as error:  # a hand-over that cannot be read must never be skipped
            raise Fatal(f"touchpoints.resolved partition {self._slot.partition}: {error}") from error
        if context.has_import:
            self._import_ms = now_ms
        return self._decision(batch, now_ms)

    def _is_import_over(self, now_ms: int) -> bool:
        """Nobody knows what a former owner saw last: a new one waits as if it had been just now."""
        if self._import_ms < 0:
            self._import_ms = now_ms
        return now_ms - self._import_ms >= self._import_quiet_ms

    def _tick(self, batch: Batch, ticks: list[str]) -> None:
        for name in ticks:
            state, parts = self._state(batch, name), self.refolds.pop(name, None)
            if parts and not log.refold(state, parts, batch.context):
                metrics.REFOLDS_REFUSED.inc()
            log.tick(state, name, batch.context, batch.facts, is_definition=parts is not None)
        metrics.TICKS.inc(len(ticks))

    def _work(self, batch: Batch, name: str, record: Record) -> None:
        """Most records are events whose turn is now; all others are put in their place first."""
        headers = record.headers
        state, n = self._state(batch, name), int(headers["n"])
        log.define(state, name, batch.context, batch.facts)
        if headers["kind"] == b"event" and not record.poison and log.is_next(state, n):
            node, place = headers.get("node", b"").decode(), headers["src"].decode()
            try:
                event = self._reader.event(name, n, node, place, record.value)
            except Poison:
                pass
            else:
                log.advance(state, event, batch.context, batch.facts)
                return
        if log.accept(state, n, self._hold(batch, record)):
            self._drain(batch, name, state)
        else:
            metrics.REPEATED.inc()

    def _hold(self, batch: Batch, record: Record) -> Held:
        """The record as it is kept until its turn; an event that cannot be read becomes `poison` and a dead letter."""
        kind, place = record.headers["kind"].decode(), record.headers["src"].decode()
        held = Held(kind, record.headers.get("node", b"").decode(), place, record.value or b"")
        if kind != "event":
            return held
        try:
            if record.poison:
                raise Poison(record.poison)
            name, n = record.key.decode(), int(record.headers["n"])
            self._decoded[name, n] = self._reader.read(name, n, held)
        except Poison as error:
            batch.dead.append(self._dead_letter(record, str(error), batch.context.now_ms))
            return Held("poison", held.node, place, b"")
        return held

    def _dead_letter(self, record: Record, error: str, now_ms: int) -> Output:
        return dead_letter(record, SERVICE, error, self._partitions, self._registry, now_ms)

    def _decode_held(self, customer_id: str, n: int, held: Held) -> LogRecord:
        # By customer and number: a touchpoint's take and its event stand at the same place.
        return self._decoded.pop((customer_id, n), None) or self._reader.read(customer_id, n, held)

    def _drain(self, batch: Batch, name: str, state: CustomerState) -> None:
        if not log.drain(state, name, batch.context, batch.facts):
            batch.ended[name] = batch.states.pop(name)

    def _load(self, names: list[str]) -> None:
        """The states a batch works on; apart from the cache, which may be smaller than a batch."""
        self._decoded: dict[tuple[str, int], LogRecord] = {}
        self._loaded = self._cache.known(names)
        missing = [name for name in names if name not in self._loaded]
        self._loaded.update(zip(missing, self._store.get_many([self._key(name) for name in missing]), strict=True))

    def _key(self, name: str) -> str:
        return self._slot.key("c", name)

    def _state(self, batch: Batch, name: str) -> CustomerState:
        state = batch.states.get(name)
        if state is None:
            raw = self._loaded[name] if name not in batch.ended else None
            state = batch.states[name] = self._packer.read(raw, name) if raw is not None else CustomerState()
        return state

    def _decision(self, batch: Batch, now_ms: int) -> Decision:
        decision = Decision(late_deletes=batch.context.taken, outputs=batch.dead)
        outputs, judged, change = decision.outputs, batch.context.judged, self._writer.change
        for fact in batch.facts:
            record = fact.record
            cause = record.place if record is not None else fact.cause or judged[fact.customer_id].seen.activity_place
            outputs.append(change(fact, cause, now_ms))
        self._measure(batch, now_ms)
        for name, state in batch.states.items():
            self._save(decision, batch.context, name, state, now_ms)
        for name, state in batch.ended.items():
            if name in batch.states:
                continue
            state.rev += 1
            self._cache.put(name, None)
            decision.deletes.append(self._key(name))
            decision.due[name] = decision.waits[name] = None
            decision.outputs.append(self._writer.ended(name, state, now_ms))
        for key, handover in batch.context.gives.items():
            decision.sets[key] = encode_state(handover)
        return decision

    def _measure(self, batch: Batch, now_ms: int) -> None:
        count(batch.facts)
        if unrated := unrated_in(batch.facts, self._config):
            metrics.UNRATED.inc(unrated.total())
            said = (
                f"spend() leaves them out; list their rates to {self._config.currency} in profile.yaml, rates.to_main"
            )
            self._limited.warning("money.unrated", currencies=sorted(unrated), amounts=unrated.total(), text=said)
        # The oldest event of a batch stands for it: observing each would cost 5 µs an event.
        accepted = [f.record.accepted_at for f in batch.facts if f.record is not None and f.record.accepted_at]
        if accepted:
            metrics.EVENT_TO_FACT_S.observe(max(0, now_ms - min(accepted)) / 1000)

    def _save(self, decision: Decision, context: Context, name: str, state: CustomerState, now_ms: int) -> None:
        if state.wait:
            decision.waits[name] = state.wait
        elif name in self._waits:
            decision.waits[name] = None
        if not (state.n or state.held):
            decision.due[name] = None  # a timer of a customer that is gone
            return
        looked_at = context.judged.get(name)
        if looked_at is None and state.conclusion is not None and state.is_complete() and not state.due_ms:
            looked_at = log.judge(state, name, context)  # made complete by a record that concludes nothing
        if looked_at is not None and state.conclusion is not None:
            state.rev += 1
            facts = looked_at.facts_now(state.conclusion)
            untils = untils_ms(facts, state.conclusion, self._config)
            rfm = looked_at.rfm
            if state.is_history:  # readers add the days since the snapshot was written
                rfm = msgspec.structs.replace(rfm, recency_days=log.recency_now(looked_at, context))
            decision.outputs.append(
                self._writer.snapshot(name, state, looked_at.seen, state.conclusion, rfm, untils, now_ms)
            )
            self._set_due(decision, name, state, next_due_ms(facts, self._config))
        if state.is_history:
            self._set_due(decision, name, state, now_ms + self._import_quiet_ms)
        if not state.is_complete():
            self._set_due(decision, name, state, None)
        plain = encode_state(state)
        self._cache.put(name, plain)
        decision.sets[self._key(name)] = self._packer.pack(plain)

    def _set_due(self, decision: Decision, name: str, state: CustomerState, due_ms: int | None) -> None:
        if (due_ms or 0) != state.due_ms:
            state.due_ms = due_ms or 0
            decision.due[name] = due_ms


def is_of_identity(record: Record) -> bool:
    """Whether key and headers are what identity writes."""
    headers = record.headers
    return (
        headers.get("kind") in KINDS and headers.get("n", b"").isdigit() and "src" in headers and record.key.isascii()
    )
