"""A claimed partition: what is taken, dropped, stopped at, and what happens to a record that kills."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from services.chassis.errors import Fatal, Retriable
from services.chassis.kafka.line import LedgerWorker, Line
from services.chassis.kafka.poison import dead_in, judge
from services.chassis.records import Decision, Entry, Output, Record
from services.chassis.redis.amend import allow, look
from services.chassis.redis.claim import Claim
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger
from services.chassis.testing.simulation import Crash, loop_metrics


def records(*seqs: str | None, start: int = 0) -> list[Record]:
    """Records at successive offsets; their values are their offsets."""
    return [
        Record("t", 0, start + i, b"k", b"%d" % (start + i), {} if seq is None else {"seq": seq.encode()}, 1_000 + i)
        for i, seq in enumerate(seqs)
    ]


@dataclass
class Clerk:
    """A worker that applies and remembers; `trouble` is called with every record before."""

    claim: Claim
    ledger: FakeLedger
    trouble: Callable[[Record], None] = lambda record: None
    batches: list[list[int]] = field(default_factory=list)
    poisoned: dict[int, str] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    due_limit: int = 0
    is_behind: bool = False

    def step(
        self, records: list[Record], seen: dict[str, int], position: int, log_ms: int, now_ms: int
    ) -> Entry | None:
        for record in records:
            if record.poison:
                self.poisoned[record.offset] = record.poison
            else:
                self.trouble(record)
        decision = Decision(outputs=self.outputs * len(records))
        self.claim.poisoned = judge(self.claim, records, dead_in(decision))
        entry = self.ledger.apply(self.claim, decision, seen, position, log_ms)
        self.batches.append([record.offset for record in records])
        return entry

    def restore(self, blobs: list[bytes]) -> list[Entry]:
        return []


def claimed(ledger: FakeLedger, is_numbered: bool = True, **fields: object) -> tuple[Line, Clerk]:
    claim = ledger.claim(Slot("line", 0), "t", "cluster", "topic", 0)
    clerk = Clerk(claim, ledger, **fields)  # type: ignore[arg-type]
    return Line("t", claim, clerk, loop_metrics("line"), "line", is_numbered), clerk


def advance(line: Line, ledger: FakeLedger, batch: list[Record]) -> None:
    line.advance(batch, ledger, lambda: 5)


def test_repetitions_are_dropped_and_the_position_passes_them() -> None:
    ledger = FakeLedger()
    line, clerk = claimed(ledger)
    advance(line, ledger, records("0:1", "0:2", "0:1", "0:2", "0:3"))
    assert clerk.batches == [[0, 1, 4]]
    assert (line.claim.position, line.claim.seen) == (5, {"0": 3})


def test_a_missing_number_stops_the_line_in_front_of_it() -> None:
    ledger = FakeLedger()
    line, clerk = claimed(ledger)
    advance(line, ledger, records("0:1", "1:1", "0:3", "0:4"))
    assert line.is_stopped
    assert clerk.batches == [[0, 1]]
    assert (line.claim.position, line.claim.seen) == (2, {"0": 1, "1": 1})


def test_records_behind_a_gap_are_not_counted_as_duplicates() -> None:
    metrics = loop_metrics("line")
    before = metrics.duplicates.labels("t")._value.get()
    ledger = FakeLedger()
    line, _ = claimed(ledger)
    advance(line, ledger, records("0:1", "0:1", "0:3", "0:4"))
    assert metrics.duplicates.labels("t")._value.get() - before == 1


def test_records_before_the_position_are_passed_over() -> None:
    ledger = FakeLedger()
    line, clerk = claimed(ledger)
    advance(line, ledger, records("0:1", "0:2"))
    advance(line, ledger, records("0:1", "0:2", "0:3"))
    assert clerk.batches == [[0, 1], [2]]


@pytest.mark.parametrize("seq", ["0:7", "17", "", "a:b", "1:", "\xff"])
def test_on_a_topic_of_sources_a_header_named_seq_means_nothing(seq: str) -> None:
    ledger = FakeLedger()
    line, clerk = claimed(ledger, is_numbered=False)
    advance(line, ledger, records(seq, seq, "0:1"))
    assert clerk.batches == [[0, 1, 2]]
    assert (line.is_stopped, line.claim.seen) == (False, {})


@pytest.mark.parametrize("seq", ["17", "", "a:b", "1:", "\xff"])
def test_a_number_that_is_none_of_ours_is_for_the_handler_to_judge(seq: str) -> None:
    ledger = FakeLedger()
    line, clerk = claimed(ledger)
    advance(line, ledger, records("0:1", seq, "0:2"))
    assert clerk.batches == [[0, 1, 2]]
    assert line.claim.seen == {"0": 2}


def kills(*offsets: int) -> Callable[[Record], None]:
    def trouble(record: Record) -> None:
        if record.offset in offsets:
            raise Crash

    return trouble


def live(ledger: FakeLedger, batch: list[Record], trouble: Callable[[Record], None]) -> Clerk:
    """One life of a process: it claims and works off what the log holds, or dies."""
    line, clerk = claimed(ledger, trouble=trouble)
    with suppress(Crash):
        advance(line, ledger, [replace(record) for record in batch])
    return clerk


def test_a_record_that_kills_is_put_aside_and_no_other() -> None:
    ledger = FakeLedger()
    batch = records(*[None] * 8)
    lives = [live(ledger, batch, kills(3, 6)) for _ in range(30)]
    poisoned = {offset: text for clerk in lives for offset, text in clerk.poisoned.items()}
    assert poisoned == {3: "processing it ended the process 3 times", 6: "processing it ended the process 3 times"}
    done = [offset for clerk in lives for batch_ in clerk.batches for offset in batch_]
    assert done == list(range(8))


def test_suspicion_is_forgotten_once_the_record_is_done() -> None:
    ledger = FakeLedger()
    for _ in range(30):
        live(ledger, records(*[None] * 8), kills(3))
    fields = ledger.connection.server.hashes[Slot("line", 0).ledger]
    assert not [name for name in fields if name.startswith("suspect")]


def test_waiting_for_others_is_no_sign_of_guilt() -> None:
    def trouble(record: Record) -> None:
        raise Retriable("the store does not answer")

    ledger = FakeLedger()
    for _ in range(20):
        line, _ = claimed(ledger, trouble=trouble)
        with pytest.raises(Retriable):
            advance(line, ledger, records(None, None))
    assert live(ledger, records(None, None), kills()).poisoned == {}


def test_an_error_of_the_program_counts_like_a_death() -> None:
    def trouble(record: Record) -> None:
        if record.offset == 1:
            raise ZeroDivisionError

    ledger = FakeLedger()
    for _ in range(20):
        line, clerk = claimed(ledger, trouble=trouble)
        try:
            advance(line, ledger, records(None, None, None))
        except ZeroDivisionError:
            continue
        break
    assert clerk.poisoned.keys() == {1}
    assert line.claim.position == 3


def test_too_high_a_share_of_dead_letters_stops_the_program() -> None:
    ledger = FakeLedger()
    line, _ = claimed(ledger, outputs=[Output("line.dead", 0, b"k", b"v")])
    with pytest.raises(Fatal, match="200 of the last 200 records"):
        advance(line, ledger, records(*[None] * 200))


def test_a_few_dead_letters_do_not() -> None:
    ledger = FakeLedger()
    line, clerk = claimed(ledger)
    for start in range(0, 1_000, 10):
        clerk.outputs = [Output("line.dead", 0, b"k", b"v")] if start % 30 == 0 else []
        advance(line, ledger, records(*[None] * 10, start=start))
    assert line.claim.position == 1_000


DEAD = [Output("line.dead", 0, b"k", b"v")]


def test_the_batch_that_would_go_over_the_share_is_not_applied_at_the_next_start_either() -> None:
    ledger = FakeLedger()
    for _ in range(3):
        line, clerk = claimed(ledger, outputs=DEAD)
        with pytest.raises(Fatal, match="200 of the last 200 records of t partition 0"):
            advance(line, ledger, records(*[None] * 200))
        assert (clerk.batches, line.claim.position) == ([], 0)


def test_being_started_again_and_again_passes_fewer_than_one_sample_in_all() -> None:
    ledger = FakeLedger()
    for _ in range(30):  # after a few the line is suspicious and works record by record
        line, _ = claimed(ledger, outputs=DEAD)
        with pytest.raises(Fatal):
            advance(line, ledger, records(*[None] * 1_000))
    assert line.claim.position == 199
    line, clerk = claimed(ledger)
    advance(line, ledger, records(*[None] * 1_000))
    assert (line.claim.position, clerk.poisoned) == (1_000, {})


def test_starts_in_small_batches_pass_fewer_than_one_sample_in_all() -> None:
    ledger, log, passed = FakeLedger(), records(*[None] * 1_000), 0
    for _ in range(30):
        line, clerk = claimed(ledger, outputs=DEAD)
        with suppress(Fatal):
            for _ in range(3):
                advance(line, ledger, log[line.claim.position :][:10])
        passed += sum(map(len, clerk.batches))
    assert passed == 199


def test_a_mended_program_goes_on_where_it_stopped() -> None:
    ledger = FakeLedger()
    line, _ = claimed(ledger, outputs=DEAD)
    advance(line, ledger, records(*[None] * 190))
    line, _ = claimed(ledger)
    for start in range(190, 1_000, 10):
        advance(line, ledger, records(*[None] * 10, start=start))
    assert line.claim.position == 1_000
    assert line.claim.poisoned.dead == 0


def test_an_operator_allows_dead_letters_below_an_offset_and_not_one_further() -> None:
    ledger = FakeLedger()
    line, _ = claimed(ledger, outputs=DEAD)
    log = records(*[None] * 1_000)
    with pytest.raises(Fatal, match=r"dead allow --service line --topic t --partition 0 --to OFFSET"):
        advance(line, ledger, log)
    allow(ledger.client, look(ledger.client, Slot("line", 0), "t"), "cluster", "topic", 700)
    line, clerk = claimed(ledger, outputs=DEAD)
    with pytest.raises(Fatal, match="300 of the last 300"):
        advance(line, ledger, log)
    assert (line.claim.position, len(clerk.batches)) == (700, 1)


def test_a_worker_judges_what_is_decided_before_it_is_applied() -> None:
    class Gives:
        def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision:
            return Decision(outputs=DEAD * len(records))

    ledger = FakeLedger()
    claim = ledger.claim(Slot("line", 0), "t", "cluster", "topic", 0)
    worker = LedgerWorker(claim, ledger, Gives())
    with pytest.raises(Fatal, match="200 of the last 200"):
        worker.step(records(*[None] * 200), {}, 200, 1, 1)
    assert ledger.claim(Slot("line", 0), "t", "cluster", "topic", 0).position == 0
