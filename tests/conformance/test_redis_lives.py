"""Which server process answers is noticed before anything is asked of another one."""

from pathlib import Path

import pytest
import redis

from services.chassis.errors import Retriable
from services.chassis.records import Decision
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger, durable_ledger
from services.chassis.redis.slots import Slot
from tests.chaos.rig.local_valkey import running

SLOT = Slot("rules", 0)


def applied(ledger: Ledger, key: str, claim: Claim) -> None:
    ledger.apply(claim, Decision(sets={SLOT.key("c", key): b"1"}), {}, claim.position + 1, 0)


def test_a_claim_is_of_no_use_when_another_server_process_answers(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        ledger = durable_ledger(server.url, relaxed=False)
        claim = ledger.claim(SLOT, "changes", "cluster", "topic", 0)
        applied(ledger, "before", claim)
        server.kill()
        server.start()
        for _ in range(2):
            with pytest.raises(Retriable):
                applied(ledger, "after", claim)
        again = ledger.claim(SLOT, "changes", "cluster", "topic", None)
        assert (again.position, again.mark.batch) == (1, "1.1")
        applied(ledger, "again", again)
        found = sorted(ledger.client.keys("*:c:*"))
        assert found == [SLOT.key("c", "again").encode(), SLOT.key("c", "before").encode()]


def test_a_connection_that_was_cut_is_no_new_life(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        ledger = durable_ledger(server.url, relaxed=False)
        claim = ledger.claim(SLOT, "changes", "cluster", "topic", 0)
        redis.Redis.from_url(server.url).client_kill_filter(_type="normal", skipme=True)
        applied(ledger, "cut", claim)
        assert claim.position == 1
