"""`touchstream rebuild` of customers who live through an import's history (`replay --clock event`).

The tests are chapters, in order, on one broker, one Valkey and one ClickHouse.
"""

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from cli.rebuild import checks
from cli.rebuild.command import rebuild
from services.chassis.clock import now_ms
from services.profile.core.calendar import DAY_MS
from services.profile.core.state import FLAG_EVENT_CLOCK, FLAG_IMPORT
from services.profile.states import Packer
from tests.integration.rebuild_backends import LEFT_OUT, check_nothing_twice, deployed
from tests.integration.rebuild_lab import Lab
from tests.integration.redis_dump import differences
from tests.integration.test_rebuild import cut

pytestmark = pytest.mark.timeout(900)
LIVED = FLAG_IMPORT | FLAG_EVENT_CLOCK
DAYS, PEOPLE, EVENTS = 430, 25, 240
NAMES = ("Product Viewed", "Logged In", "Registered", "Message Opened")
_packer = Packer()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with deployed(tmp_path_factory.mktemp("state")) as lab:
        yield lab


def send_history(lab: Lab, part: int) -> None:
    """Half of fourteen months by time: visits, orders, refunds, and visitors who say who they are and so merge."""
    dice, start = random.Random(part), now_ms() - DAYS * DAY_MS + part % 2 * (DAYS * DAY_MS // 2)
    for number, at in enumerate(sorted(dice.randrange(DAYS * DAY_MS // 2) for _ in range(EVENTS))):
        user, visitor = f"user_id:{dice.randrange(PEOPLE)}", f"anonymous_id:{dice.randrange(2 * PEOPLE)}"
        lived: dict[str, Any] = {"occurred_at": start + at, "flags": LIVED}
        what = dice.random()
        if what < 0.25:
            order = {"order_id": f"o{part}-{number}", "amount_minor": dice.randrange(900, 90_000), "currency": "CNY"}
            lab.send(user, name="Order Completed", **order, **lived)
        elif what < 0.30:
            lab.send(user, name="Order Refunded", amount_minor=dice.randrange(100, 900), currency="CNY", **lived)
        elif what < 0.45:
            lab.send(user, visitor, kind="identify", name="Identified", traits=b'{"city": "Wuxi"}', **lived)
        else:
            lab.send(dice.choice((user, visitor)), name=dice.choice(NAMES), **lived)
    lab.producer.flush()


def in_history(lab: Lab) -> set[str]:
    """Customers who live through the import."""
    keys = sorted(lab.redis.scan_iter("{profile:*}:c:*"))
    return {key.decode() for key in keys if _packer.decode(lab.redis.get(key)).is_history}  # type: ignore[arg-type]


def told(lab: Lab, where: str) -> int:
    """Changes of tags that time brought about."""
    (row,) = lab.clickhouse.query_rows(f"SELECT count() AS found FROM tag_changes_raw WHERE kind = 'tick' AND {where}")
    return int(row["found"])


def without_next_looks(found: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The dump but for when these customers are looked at next, on which nothing hangs."""
    bare = {key: value for key, value in found.items() if key not in names}
    for key in names & found.keys():
        state = _packer.decode(found[key])
        state.due_ms = 0
        bare[key] = msgspec.msgpack.encode(state)
    members = {key.rpartition(":")[2].encode() for key in names}
    dues = {key: [one for one in value if one[0] not in members] for key, value in bare.items() if ":due:" in key}
    return bare | dues


def test_customers_in_the_midst_of_their_history(lab: Lab) -> None:
    lab.import_quiet_ms = 3_600_000
    lab.start()
    send_history(lab, 0)
    lab.work()
    lab.stop()
    living = in_history(lab)
    assert len(living) > PEOPLE
    assert told(lab, "event_id != ''") > PEOPLE
    assert told(lab, "event_id = ''") == 0
    before = lab.dump()
    lab.lose()

    rebuild(fresh=False)

    assert in_history(lab) == living
    assert differences(without_next_looks(before, living), without_next_looks(lab.dump(), living), LEFT_OUT) == []


def test_the_history_goes_on_in_the_redis_that_was_rebuilt_until_it_is_over(lab: Lab) -> None:
    lab.import_quiet_ms = 500
    lab.start()
    send_history(lab, 1)
    lab.work("identity")
    lab.rounds_until("profile", lambda: not lab._behind([lab.loops["profile"]]) and not in_history(lab))
    lab.work()
    lab.stop()
    assert told(lab, "event_id = ''") > 10
    check_nothing_twice(lab)
    before = lab.dump()
    lab.lose()

    rebuild(fresh=False)

    assert differences(before, lab.dump(), LEFT_OUT) == []


def oldest_left(lab: Lab, within: str) -> dict[tuple[str, int], int]:
    """Oldest offsets as if retention had just taken the first of several changes that one record (or one look) of a
    history brought about, in as many partitions as have some; elsewhere about half of everything.
    """
    found = lab.clickhouse.query_rows(
        "SELECT log_partition AS p, max(log_offset) AS taken FROM"
        " (SELECT log_partition, customer_id, changed_at, log_offset, kind, event_id, leadInFrame(customer_id) OVER w"
        " AS next_customer, leadInFrame(changed_at) OVER w AS next_at FROM (SELECT DISTINCT log_partition, customer_id,"
        " changed_at, log_offset, kind, event_id FROM tag_changes_raw) WINDOW w AS (PARTITION BY log_partition ORDER BY"
        " log_offset ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING))"
        f" WHERE customer_id = next_customer AND changed_at = next_at AND kind = 'tick' AND {within} GROUP BY p"
    )
    assert found
    return cut(lab) | {("profile.changes", int(row["p"])): int(row["taken"]) + 1 for row in found}


@pytest.mark.parametrize("within", ["event_id != ''", "event_id = ''"], ids=["before an event", "at the end"])
def test_what_retention_has_taken_of_a_history_comes_from_clickhouse(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, within: str
) -> None:
    oldest = oldest_left(lab, within)
    before = lab.dump()
    lab.lose()
    with monkeypatch.context() as patch:
        patch.setattr(checks.offsets, "first_offsets", lambda bootstrap, topics: oldest)
        rebuild(fresh=False)
    # Message ids of requests that changed nothing are in no table.
    assert differences(before, lab.dump(), (*LEFT_OUT, "{identity}:seen")) == []


def test_life_after_the_history(lab: Lab) -> None:
    """Something live, and one more import of people whose history is over: an ordinary one for them."""
    lab.start()
    for number in range(PEOPLE):
        lab.send(f"user_id:{number}", name="Logged In")
    send_history(lab, 2)
    lab.work("identity")
    lab.rounds_until("profile", lambda: not lab._behind([lab.loops["profile"]]) and not in_history(lab))
    lab.work()
    lab.stop()
    before = lab.dump()
    lab.lose()

    rebuild(fresh=False)

    assert differences(before, lab.dump(), LEFT_OUT) == []
