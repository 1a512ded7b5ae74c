"""What an operator may do to a ledger: move it to a new log, or on past what is missing; on the fake and on Valkey."""

import pytest

from services.chassis.errors import Fatal, Fenced
from services.chassis.records import unpack_entry
from services.chassis.redis.amend import amend, find_slot, look
from services.chassis.redis.claim import Channels
from services.chassis.redis.rebase import rebase
from tests.conformance.conftest import KEY, SLOT, Lab, change, output

TOPIC = "profile.changes"
LOG = ("cluster-1", "topic-1")


def test_a_ledger_put_elsewhere_goes_on_there_with_the_numbers_it_was_given(lab: Lab) -> None:
    ledger = lab.ledger()
    owner = lab.claim(ledger)
    ledger.apply(owner, change(b"1", output(b"a")), {"0": 4, "1": 9}, 20, 1_000)
    stand = look(ledger.client, find_slot(ledger.client, "rules", TOPIC, 3), TOPIC)
    assert (stand.position, stand.channels.seen) == (20, {"0": 4, "1": 9})
    amend(ledger.client, stand, *LOG, 57, Channels({"0": 11, "1": 9}, stand.channels.base, stand.channels.extra))
    claim = lab.claim()
    assert (claim.position, claim.seen, claim.base, claim.tries) == (57, {"0": 11, "1": 9}, owner.base, 0)
    assert [unpack_entry(blob).outputs for blob in claim.unsent] == [[output(b"a")]]
    assert ledger.get_many([KEY]) == [b"1"]


def test_it_fences_the_owner(lab: Lab) -> None:
    ledger = lab.ledger()
    owner = lab.claim(ledger, start=5)
    amend(ledger.client, look(ledger.client, SLOT, TOPIC), *LOG, 5, Channels({"0": 1}))
    with pytest.raises(Fenced):
        ledger.apply(owner, change(), {}, 6, 0)
    with pytest.raises(Fenced):
        ledger.touch(owner)


def test_a_ledger_that_moved_meanwhile_is_left_alone(lab: Lab) -> None:
    ledger = lab.ledger()
    owner = lab.claim(ledger)
    stand = look(ledger.client, SLOT, TOPIC)
    ledger.apply(owner, change(), {"0": 1}, 1, 0)
    with pytest.raises(Fatal, match="moved meanwhile"):
        amend(ledger.client, stand, *LOG, 9, Channels())
    ledger.apply(owner, change(), {"0": 2}, 2, 0)


@pytest.mark.parametrize("log", [("cluster-2", "topic-1"), ("cluster-1", "topic-2")])
def test_a_ledger_of_another_log_is_left_alone(lab: Lab, log: tuple[str, str]) -> None:
    ledger = lab.ledger()
    owner = lab.claim(ledger)
    with pytest.raises(Fatal, match="without --to"):
        amend(ledger.client, look(ledger.client, SLOT, TOPIC), *log, 9, Channels())
    ledger.apply(owner, change(), {}, 1, 0)


def test_a_ledger_that_nobody_claimed_is_not_made(lab: Lab) -> None:
    ledger = lab.ledger()
    with pytest.raises(Fatal, match="does not exist"):
        look(ledger.client, SLOT, TOPIC)
    with pytest.raises(Fatal, match="no ledger of rules"):
        find_slot(ledger.client, "rules", TOPIC, 3)


def test_on_a_new_log_a_drained_ledger_begins_where_that_log_begins(lab: Lab) -> None:
    ledger = lab.ledger()
    former = lab.claim(ledger)
    ledger.apply(former, change(), {"0": 4}, 20, 0)
    assert rebase(ledger.client, "cluster-2", {TOPIC: "topic-2"}, {(TOPIC, 3): 100}) == 1
    claim = lab.ledger().claim(SLOT, TOPIC, "cluster-2", "topic-2", 0)
    assert (claim.position, claim.generation, claim.seen, claim.tries) == (100, 2, {}, 0)


def test_on_the_same_log_a_rebase_changes_nothing(lab: Lab) -> None:
    ledger = lab.ledger()
    ledger.apply(lab.claim(ledger), change(), {"0": 4}, 20, 0)
    assert rebase(ledger.client, *LOG[:1], {TOPIC: LOG[1]}, {(TOPIC, 3): 100}) == 0
    assert lab.claim().position == 20
