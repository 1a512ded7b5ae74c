"""What every ledger promises where requests, answers or owners are lost, and what its outbox keeps."""

import pytest
import redis

from services.chassis.errors import Retriable
from services.chassis.records import Decision, Entry, unpack_entry
from services.chassis.redis.claim import Claim
from services.chassis.redis.slots import Slot
from tests.conformance.conftest import KEY, SLOT, Lab, Network, change, output


def numbers(claim: Claim, entries: list[Entry]) -> list[str]:
    """What a relay would write: destination, number and value of every output."""
    return [
        f"{o.topic}/{o.partition} {claim.number(o).decode()} {(o.value or b'').decode()}"
        for entry in entries
        for o in entry.outputs
    ]


def relayed(claim: Claim, entry: Entry) -> list[str]:
    sent = numbers(claim, [entry])
    claim.acknowledge()
    return sent


def restored(claim: Claim) -> list[Entry]:
    entries = [unpack_entry(blob) for blob in claim.unsent]
    claim.restored(entries)
    return entries


# -- a network that loses
def test_an_answer_lost_on_the_way_counts_once(lab: Lab) -> None:
    network = Network()
    ledger = lab.ledger(network)
    claim = lab.claim(ledger)
    for position, value in enumerate((b"1", b"2"), 1):
        network.lose_answers = 1
        entry = ledger.apply(claim, change(value, output(value)), {}, position, 0)
        assert relayed(claim, entry) == [f"triggers/0 3:{position} {value.decode()}"]
    after = lab.claim()
    assert (after.position, len(after.unsent), after.base) == (2, 1, {"triggers/0": 1})


def test_a_request_lost_on_the_way_is_sent_again(lab: Lab) -> None:
    network = Network()
    ledger = lab.ledger(network)
    claim = lab.claim(ledger)
    network.lose_requests = 1
    ledger.apply(claim, change(b"1", output(b"a")), {}, 1, 0)
    after = lab.claim()
    assert (after.position, len(after.unsent)) == (1, 1)


@pytest.mark.parametrize(("requests", "answers"), [(2, 0), (0, 2), (1, 1)])
def test_two_losses_are_retriable_and_the_next_claim_knows_the_truth(lab: Lab, requests: int, answers: int) -> None:
    network = Network()
    ledger = lab.ledger(network)
    claim = lab.claim(ledger)
    network.lose_requests, network.lose_answers = requests, answers
    with pytest.raises(Retriable):
        ledger.apply(claim, change(b"1", output(b"a")), {}, 1, 0)
    for call in (
        lambda: ledger.apply(claim, change(b"2", output(b"b")), {}, 1, 0),  # its batch id would have been the same
        lambda: ledger.touch(claim),
    ):
        with pytest.raises(Retriable, match="not known, claim again"):
            call()
    after = lab.claim()
    was_applied = answers > 0
    assert (after.position, len(after.unsent)) == (int(was_applied), int(was_applied))
    assert ledger.get_many([KEY]) == [b"1" if was_applied else None]


def test_the_same_batch_asked_again_answers_already_and_changes_nothing(lab: Lab) -> None:
    asked: list[object] = []

    def remember(moment: str, command: tuple[object, ...]) -> None:
        if moment == "before" and command[0] == "EVALSHA":
            asked[:] = [command]

    ledger = lab.open(remember)
    claim = lab.claim(ledger)
    ledger.apply(claim, Decision({KEY: b"1"}, due={"anna": 5}, outputs=[output(b"a")]), {}, 0, 0)
    assert lab.send(asked[0]) == b"ALREADY"
    assert len(lab.claim().unsent) == 1


def test_a_late_copy_of_a_request_changes_nothing(lab: Lab) -> None:
    """The first copy was stuck in a socket while the second was answered and another batch followed."""
    network = Network()
    ledger = lab.ledger(network)
    claim = lab.claim(ledger)
    network.lose_requests = 1
    ledger.apply(claim, change(b"old", output(b"a")), {}, 0, 0)  # time alone: the position stays
    ledger.apply(claim, change(b"new"), {}, 0, 0)
    lab.send(network.lost[0])
    assert ledger.get_many([KEY]) == [b"new"]
    assert len(lab.claim().unsent) == 1


def test_a_late_copy_after_another_claim_changes_nothing(lab: Lab) -> None:
    network = Network()
    ledger = lab.ledger(network)
    claim = lab.claim(ledger)
    network.lose_requests = 2
    with pytest.raises(Retriable):
        ledger.apply(claim, change(b"old", output(b"a")), {}, 0, 0)
    claim = lab.claim(ledger)
    ledger.apply(claim, change(b"new"), {}, 0, 0)
    for request in network.lost:
        assert lab.send(request) == b"FENCED"
    assert ledger.get_many([KEY]) == [b"new"]
    assert lab.claim().unsent == []


def test_a_server_that_does_not_answer_is_retriable_in_every_call(lab: Lab) -> None:
    network = Network()
    ledger = lab.ledger(network)
    claim = lab.claim(ledger)
    network.refuse = True
    for call in (
        lambda: lab.claim(ledger),
        lambda: ledger.apply(claim, change(), {}, 1, 0),
        lambda: ledger.touch(claim),
        lambda: ledger.delete([KEY]),
        lambda: ledger.suspect(claim, 5),
        lambda: ledger.get_many([KEY]),
        lambda: ledger.due(SLOT, 5, 5),
        lambda: ledger.scan_due(SLOT, 0, 5),
    ):
        with pytest.raises(Retriable):
            call()
    network.refuse = False
    ledger.apply(lab.claim(ledger), change(), {}, 1, 0)


# -- outbox and sequence numbers
def test_an_output_is_numbered_per_destination(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    entry = ledger.apply(
        claim, change(b"1", output(b"a"), output(b"b", 1), output(b"c"), output(b"d", 0, "x")), {}, 1, 0
    )
    assert relayed(claim, entry) == ["triggers/0 3:1 a", "triggers/1 3:1 b", "triggers/0 3:2 c", "x/0 3:1 d"]


def test_the_outbox_is_trimmed_only_after_the_acknowledgement(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    first = ledger.apply(claim, change(b"1", output(b"a")), {}, 1, 0)
    second = ledger.apply(claim, change(b"2", output(b"b")), {}, 2, 0)
    assert len(lab.claim().unsent) == 2  # sent perhaps, but nobody has acknowledged it
    claim = lab.claim(ledger)
    assert numbers(claim, restored(claim)) == numbers(lab.claim(), [first, second])


def test_an_acknowledged_prefix_is_trimmed_by_the_next_apply(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    relayed(claim, ledger.apply(claim, change(b"1", output(b"a")), {}, 1, 0))
    ledger.apply(claim, change(b"2", output(b"b")), {}, 2, 0)
    after = lab.claim()
    assert [unpack_entry(blob).outputs for blob in after.unsent] == [[output(b"b")]]
    assert after.base == {"triggers/0": 1}


def test_touch_trims_what_is_acknowledged_and_nothing_else(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    entry = ledger.apply(claim, change(b"1", output(b"a")), {"0": 7}, 1, 0)
    ledger.touch(claim)
    numbers(claim, [entry])
    ledger.touch(claim)
    claim.acknowledge()
    ledger.touch(claim)
    after = lab.claim()
    assert (after.unsent, after.base, after.position, after.seen) == ([], {"triggers/0": 1}, 1, {"0": 7})


def test_a_mark_says_before_which_record_everything_is_sent(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    ledger.apply(claim, change(b"1", output(b"a")), {}, 3, 0)
    assert (claim.mark.position, claim.mark.sent) == (3, 0)
    claim.acknowledge()
    assert claim.mark.sent == 3
    ledger.apply(claim, change(b"2"), {}, 5, 0)
    assert claim.mark.sent == 5
    for position in (7, 9):
        ledger.apply(claim, change(b"3", output(b"b")), {}, position, 0)
        assert (claim.mark.position, claim.mark.sent) == (position, 5)
    after = lab.claim()
    restored(after)
    assert after.mark.sent == -1
    after.acknowledge()
    assert after.mark.sent == 9


def test_numbers_are_contiguous_over_claims_crashes_and_trims(lab: Lab) -> None:
    sent: list[str] = []
    position = 0
    for is_acknowledged in (True, False, False, True, True, False, True):
        ledger = lab.ledger()
        claim = lab.claim(ledger)  # the former owner crashed right after its last step
        sent += numbers(claim, restored(claim))
        claim.acknowledge()
        for _ in range(2):
            position += 1
            value = str(position).encode()
            entry = ledger.apply(claim, change(value, output(value), output(value, position % 2)), {}, position, 0)
            sent += numbers(claim, [entry])
            if is_acknowledged:
                claim.acknowledge()
    for partition in (0, 1):
        mine = [text.split() for text in sent if text.startswith(f"triggers/{partition} ")]
        contents: dict[int, str] = {}
        for _, number, value in mine:
            assert contents.setdefault(int(number.split(":")[1]), value) == value
        assert list(contents) == list(range(1, len(contents) + 1))


def test_a_batch_without_outputs_leaves_the_outbox_alone(lab: Lab) -> None:
    ledger = lab.ledger()
    claim = lab.claim(ledger)
    relayed(claim, ledger.apply(claim, change(b"1"), {}, 1, 0))
    entry = ledger.apply(claim, change(b"2", output(b"a")), {}, 2, 0)
    assert relayed(claim, entry) == ["triggers/0 3:1 a"]
    ledger.apply(claim, change(b"3"), {}, 3, 0)
    assert lab.claim().unsent == []


def test_late_deletes_wait_in_the_outbox(lab: Lab) -> None:
    ledger = lab.ledger()
    foreign = "{rules:1}:give:h:anna"
    giver = lab.claim(ledger, Slot("rules", 1))
    ledger.apply(giver, Decision(sets={foreign: b"parts"}), {}, 1, 0)
    claim = lab.claim(ledger)
    ledger.apply(claim, Decision(sets={KEY: b"1"}, late_deletes=[foreign]), {}, 1, 0)
    assert ledger.get_many([foreign]) == [b"parts"]
    claim = lab.claim(ledger)
    entries = restored(claim)
    assert [entry.late_deletes for entry in entries] == [[foreign]]
    for _ in range(2):
        ledger.delete(entries[0].late_deletes)
        assert ledger.get_many([foreign]) == [None]


def test_errors_of_the_server_are_no_verdicts(lab: Lab) -> None:
    class Refusing(Network):
        def __call__(self, moment: str, command: tuple[object, ...]) -> None:
            if self.refuse:
                raise redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'")

    network = Refusing()
    ledger = lab.ledger(network)
    claim = lab.claim(ledger)
    network.refuse = True
    with pytest.raises(Retriable, match="OOM"):
        ledger.apply(claim, change(), {}, 1, 0)
