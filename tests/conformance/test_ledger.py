"""What every ledger promises, whatever holds its data: claim, apply and timers, on the fake and on Valkey."""

import pytest

from services.chassis.errors import Fatal, Fenced, Retriable
from services.chassis.records import Decision, unpack_entry
from services.chassis.redis.ledger import Mismatch, NoLedger
from services.chassis.redis.slots import Slot
from tests.conformance.conftest import KEY, OTHER, SLOT, Lab, change, output


# -- claim
def test_a_new_ledger_starts_where_the_log_starts(lab: Lab) -> None:
    claim = lab.claim(start=17)
    assert (claim.position, claim.epoch, claim.generation, claim.tries) == (17, 1, 1, 0)
    assert (claim.seen, claim.base, claim.unsent, claim.waits, claim.extra) == ({}, {}, [], {}, b"")


def test_a_ledger_that_must_be_there_and_is_not_is_told_and_not_made(lab: Lab) -> None:
    ledger = lab.ledger()
    with pytest.raises(NoLedger):
        ledger.claim(SLOT, "profile.changes", "cluster-1", "topic-1", None)
    assert lab.claim(start=17).epoch == 1
    assert ledger.claim(SLOT, "profile.changes", "cluster-1", "topic-1", None).position == 17


def test_a_claim_finds_what_the_last_owner_left(lab: Lab) -> None:
    ledger = lab.ledger()
    first = lab.claim(ledger, start=17)
    decision = Decision(sets={KEY: b"1"}, waits={"anna": "w"}, outputs=[output(b"a")])
    ledger.apply(first, decision, {"0": 4}, 20, 1_000)
    second = lab.claim(start=3)
    assert (second.position, second.epoch, second.seen, second.waits) == (20, 2, {"0": 4}, {"anna": "w"})
    assert [unpack_entry(blob).outputs for blob in second.unsent] == [[output(b"a")]]


def test_a_claim_fences_the_former_owner_in_everything_it_does(lab: Lab) -> None:
    ledger = lab.ledger()
    former = lab.claim(ledger)
    lab.claim()
    with pytest.raises(Fenced):
        ledger.apply(former, change(), {}, 1, 0)
    with pytest.raises(Fenced):
        ledger.touch(former)
    with pytest.raises(Fenced):
        ledger.save_extra(former, b"intent", {}, 0)
    assert ledger.get_many([KEY]) == [None]


def test_claims_of_other_partitions_and_services_do_not_fence(lab: Lab) -> None:
    ledger = lab.ledger()
    mine = lab.claim(ledger)
    for slot in (Slot("rules", 2), Slot("profile", 3), Slot("rules", 2, shared=True)):
        lab.claim(slot=slot)
    ledger.apply(mine, change(), {}, 1, 0)
    assert lab.claim(slot=Slot("rules", 2)).position == 0


@pytest.mark.parametrize(
    ("cluster", "topic_id"), [("cluster-2", "topic-1"), ("cluster-1", "topic-2")], ids=["cluster", "topic"]
)
def test_a_foreign_log_is_refused_and_fences_nobody(lab: Lab, cluster: str, topic_id: str) -> None:
    ledger = lab.ledger()
    mine = lab.claim(ledger)
    with pytest.raises(Fatal, match=f"belongs to .*cluster-1.*topic-1.*{cluster}"):
        ledger.claim(SLOT, "profile.changes", cluster, topic_id, 0)
    ledger.apply(mine, change(), {}, 1, 0)


def test_tries_count_claims_at_the_same_position(lab: Lab) -> None:
    ledger = lab.ledger()
    assert [lab.claim().tries for _ in range(3)] == [0, 1, 2]
    claim = lab.claim(ledger)
    assert claim.tries == 3
    ledger.apply(claim, change(), {}, 1, 0)
    assert [lab.claim().tries for _ in range(2)] == [0, 1]


# -- apply
def test_apply_changes_everything_of_a_decision(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    ledger.apply(claim, Decision(sets={KEY: b"1", OTHER: b"\x00\xff"}, due={"anna": 5, "bert": 9}), {}, 1, 0)
    ledger.apply(
        claim, Decision(sets={KEY: b"2"}, deletes=[OTHER], due={"bert": None}, waits={"carl": "k"}), {"2": 9}, 7, 0
    )
    assert ledger.get_many([KEY, OTHER]) == [b"2", None]
    assert ledger.due(SLOT, 100, 10) == ["anna"]
    assert (claim.position, claim.seen, claim.waits) == (7, {"2": 9}, {"carl": "k"})
    after = lab.claim()
    assert (after.position, after.seen, after.waits) == (7, {"2": 9}, {"carl": "k"})


def test_a_refused_batch_changes_nothing(lab: Lab) -> None:
    ledger, other = lab.ledger(), lab.ledger()
    stale = lab.claim(ledger)
    current = lab.claim(other)
    other.apply(current, Decision(sets={KEY: b"kept"}, due={"anna": 5}, waits={"anna": "w"}), {"0": 1}, 1, 0)
    everything = Decision(
        sets={OTHER: b"x"}, deletes=[KEY], due={"anna": None, "bert": 1}, waits={"anna": None, "bert": "v"},
        outputs=[output(b"a")], late_deletes=["k"],
    )  # fmt: skip
    with pytest.raises(Fenced):
        ledger.apply(stale, everything, {"0": 9}, 9, 0)
    current.position = 0
    with pytest.raises(Mismatch):
        other.apply(current, everything, {"0": 9}, 9, 0)
    after = lab.claim()
    assert ledger.get_many([KEY, OTHER]) == [b"kept", None]
    assert ledger.due(SLOT, 100, 10) == ["anna"]
    assert (after.position, after.seen, after.unsent, after.waits) == (1, {"0": 1}, [], {"anna": "w"})


def test_a_refused_batch_leaves_the_claim_as_it_was(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    ledger.apply(claim, change(b"1", output(b"a")), {"0": 1}, 1, 0)
    claim.acknowledge()
    lab.claim()
    with pytest.raises(Fenced):
        ledger.apply(claim, change(b"2", output(b"b")), {"0": 2}, 2, 0)
    assert (claim.position, claim.seen, claim.acknowledged, len(claim.stored)) == (1, {"0": 1}, 1, 1)


def test_a_position_that_somebody_else_moved_is_a_mismatch(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    ledger.apply(claim, change(b"1"), {}, 5, 0)
    claim.position = 4
    with pytest.raises(Mismatch):
        ledger.apply(claim, change(b"2"), {}, 6, 0)
    assert ledger.get_many([KEY]) == [b"1"]


def test_a_batch_without_records_keeps_the_position(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger, start=3)
    for value in (b"1", b"2"):
        ledger.apply(claim, change(value), {}, 3, 0)
    assert lab.claim().position == 3
    assert ledger.get_many([KEY]) == [b"2"]


def test_extra_bytes_live_and_die_with_the_position(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    ledger.save_extra(claim, b"intent", {}, 0)
    assert lab.claim().extra == b"intent"
    with pytest.raises(Fenced):
        ledger.save_extra(claim, b"other", {}, 0)
    assert claim.extra == b"intent"
    assert lab.claim().extra == b"intent"


def test_twenty_thousand_keys_in_one_batch(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    names = [f"c{i}" for i in range(20_000)]
    keys = [SLOT.key("c", name) for name in names]
    waits: dict[str, str | None] = dict.fromkeys(names, "k")
    ledger.apply(claim, Decision(dict.fromkeys(keys, b"v"), [], dict.fromkeys(names, 1), waits), {}, 1, 0)
    assert ledger.get_many(keys) == [b"v"] * 20_000
    assert len(ledger.due(SLOT, 1, 30_000)) == len(lab.claim().waits) == 20_000
    claim = lab.claim(ledger)
    gone: dict[str, None] = dict.fromkeys(names)
    ledger.apply(claim, Decision({}, keys, dict(gone), dict(gone)), {}, 2, 0)
    assert ledger.get_many(keys) == [None] * 20_000
    assert (ledger.due(SLOT, 1, 30_000), lab.claim().waits, claim.waits) == ([], {}, {})


# -- arguments
@pytest.mark.parametrize(
    "arguments",
    [
        [2, KEY, b"v", 0, 0, 0, 0],  # a list is missing
        [2, KEY, b"v", 0, 0, 0, 0, 0, 0],  # one too many
        [4, KEY, b"v", 0, 0, 0, 0, 0],  # a count that reaches beyond the end
        [2, KEY, b"v", 0, "soon", 0, 0, 0],  # a count that is no number
        [1, KEY, 0, 0, 0, 0, 0],  # a key without its value
        [2, KEY, b"v", 0, 2, "soon", "anna", 0, 0, 0],  # a moment that is no number
        [2, KEY, b"v", 0, 3, 5, "anna", 6, 0, 0, 0],  # a moment without its member
        [2, KEY, b"v", 0, 0, 0, 1, "anna", 0],  # a wait without its key
        [4, KEY, b"v", "{rules:4}:c:anna", b"v", 0, 0, 0, 0, 0],  # a key of another slot
        [2, KEY, b"v", 1, "{rules:4}:c:anna", 0, 0, 0, 0],  # a key of another slot, to be deleted
    ],
)
def test_arguments_that_do_not_add_up_are_refused_before_anything_is_written(
    lab: Lab, arguments: list[bytes | str | int]
) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    with pytest.raises(Retriable, match="apply to"):
        ledger.run(claim, ledger._apply, b"entry", arguments, {"0": 1}, 1, 0)
    after = lab.claim()
    assert (after.position, after.seen, after.unsent, after.waits) == (0, {}, [], {})
    assert ledger.get_many([KEY]) == [None]
    assert ledger.due(SLOT, 100, 10) == []


# -- timers and suspicion
def test_due_members_come_earliest_first_and_not_before_their_moment(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    ledger.apply(claim, Decision(due={"c": 30, "a": 10, "b": 20, "big": 1_750_000_000_123}), {}, 1, 0)
    assert ledger.due(SLOT, 9, 10) == []
    assert ledger.due(SLOT, 20, 10) == ["a", "b"]
    assert ledger.due(SLOT, 30, 2) == ["a", "b"]
    assert ledger.due(SLOT, 1_750_000_000_122, 10) == ["a", "b", "c"]
    assert ledger.due(SLOT, 1_750_000_000_123, 10)[-1] == "big"
    ledger.apply(claim, Decision(due={"a": 40, "b": None}), {}, 2, 0)
    assert ledger.due(SLOT, 50, 10) == ["c", "a"]
    assert ledger.due(Slot("rules", 2), 50, 10) == []


def test_scan_due_sees_every_member_once_or_more(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    names = {f"c{i}" for i in range(1_000)}
    ledger.apply(claim, Decision(due=dict.fromkeys(names, 10**12)), {}, 1, 0)
    cursor, found = ledger.scan_due(SLOT, 0, 100)
    seen, steps = set(found), 1
    while cursor:
        cursor, found = ledger.scan_due(SLOT, cursor, 100)
        seen |= set(found)
        steps += 1
    assert seen == names
    assert steps > 1
    assert ledger.scan_due(Slot("rules", 2), 0, 100) == (0, [])


def test_suspicion_counts_attempts_per_record_over_claims(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    assert [ledger.suspect(claim, 5), ledger.suspect(claim, 5), ledger.suspect(claim, 6)] == [1, 2, 1]
    assert ledger.suspect(lab.claim(ledger), 5) == 3
    assert ledger.suspect(lab.claim(ledger, Slot("rules", 2)), 5) == 1


def test_an_acquitted_record_begins_anew(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    for _ in range(2):
        assert [ledger.suspect(claim, 5), ledger.suspect(claim, 5)] == [1, 2]
        ledger.acquit(claim, 5)
    ledger.acquit(claim, 6)
