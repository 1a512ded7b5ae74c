"""`touchstream rebuild` when Redis is lost in the middle of something: nothing is lost with it, nothing comes twice.

The tests are chapters, in order, on one broker, one Valkey and one ClickHouse.
"""

from collections.abc import Iterator

import msgspec
import pytest

from cli.rebuild.command import rebuild
from services.profile.states import Packer
from tests.backends import CHOSEN
from tests.integration.rebuild_backends import LEFT_OUT, PARTITIONS, check_nothing_twice, check_rebuilt, deployed
from tests.integration.rebuild_lab import Lab
from tests.integration.redis_dump import differences

pytestmark = pytest.mark.timeout(900)
SERVICES = ("identity", "profile", "rules")
NEW = 60


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with deployed(tmp_path_factory.mktemp("state")) as lab:
        yield lab


def test_who_waits_for_a_hand_over_waits_again_with_what_is_held_and_is_let_go(lab: Lab) -> None:
    lab.start()
    lab.story(9, 200)
    lab.work()
    lab.stop()
    lab.start(profile=[0, 2])
    for part in range(10, 20):
        lab.story(part, 200)
        lab.work("identity")
        lab.work("profile", "rules")
        if held_behind_a_wait(lab):
            break
    lab.work()
    assert waiting(lab) > 0
    assert held_behind_a_wait(lab) > 0
    lab.stop()

    check_rebuilt(lab)

    assert waiting(lab) > 0
    lab.start()
    lab.work()
    assert waiting(lab) == 0
    lab.stop()
    check_rebuilt(lab)
    check_nothing_twice(lab)


def waiting(lab: Lab) -> int:
    """Customers of profile that wait."""
    return sum(int(lab.redis.hlen(f"{{profile:{p}}}:waits:{p}")) for p in range(PARTITIONS))  # type: ignore[arg-type]


def held_behind_a_wait(lab: Lab) -> int:
    """Records that came for a customer who waits, behind the one that he waits with."""
    states = Packer()
    found = [states.decode(value) for key, value in lab.dump().items() if key.startswith("{profile:") and "}:c:" in key]
    return sum(len(state.held) - 1 for state in found if state.wait)


@pytest.mark.skipif(CHOSEN == "tansu", reason="Tansu forgets what a commit says besides the offset: what was sent")
@pytest.mark.parametrize("service", SERVICES)
def test_what_was_decided_and_never_sent_is_decided_once_more(lab: Lab, service: str) -> None:
    lab.start()
    buyers = [f"user_id:{service}-{number}" for number in range(NEW)]
    for number, buyer in enumerate(buyers):
        name = f"{service}-{number}"
        lab.send(buyer, name="Order Completed", event_id=name, order_id=name, amount_minor=900, currency="CNY")
    lab.story(20 + SERVICES.index(service), 100)
    for upstream in SERVICES[: SERVICES.index(service)]:
        lab.work(upstream)
    lab.cut_relay(service)
    lab.rounds_until(service, lambda: unsent(lab, service) > 0)
    lab.stop()
    lab.lose()

    rebuild(fresh=False)

    lab.start()
    lab.work()
    lab.stop()
    check_nothing_twice(lab)
    orders = {"p": f"{service}-%"}
    (row,) = lab.clickhouse.query_rows(
        "SELECT uniqExact(event_id) AS events, (SELECT count() FROM triggers_raw WHERE rule = 'first-order'"
        " AND event_id LIKE {p:String}) AS triggers FROM events_raw WHERE event_id LIKE {p:String}",
        orders,
    )
    assert (row["events"], row["triggers"]) == (NEW, NEW)
    check_rebuilt(lab)


def unsent(lab: Lab, service: str) -> int:
    """Entries in the outboxes of a service."""
    return sum(len(value) for key, value in lab.dump().items() if key.startswith(f"{{{service}") and ":outbox" in key)


def test_deliveries_that_may_have_been_sent_are_said_and_end_once(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.start()
    for number in range(NEW):
        lab.send(f"user_id:new-{number}", name="Order Completed", order_id=f"n{number}", amount_minor=9, currency="CNY")
    lab.producer.flush()
    lab.work(*SERVICES)
    lab.take_in()
    lab.work(*SERVICES)
    lab.stop()
    before = lab.dump()
    under_way = [key for key, value in before.items() if key.startswith("{notify}:d:") and value[b"s"] == b"q"]
    assert len(under_way) >= NEW
    capsys.readouterr()
    lab.lose()

    rebuild(fresh=False)

    assert f"{len(under_way):,} deliveries were under way and may have been sent" in capsys.readouterr().out
    after = lab.dump()
    # The moments at which a delivery without an address ended, and at which the others are looked at, are anew.
    times = ("{notify}:q:", "{notify}:out:")
    assert differences(before, after, (*LEFT_OUT, *times, *under_way)) == []
    assert {key: len(after[key]) for key in after if key.startswith(times)} == {
        key: len(before[key]) for key in before if key.startswith(times)
    }
    for key in under_way:
        assert after[key] == {**before[key], b"a": b"1", b"u": b"1", b"t": after[key][b"t"], b"b": after[key][b"b"]}
        assert intent(after[key]) == intent(before[key])
    lab.start()
    lab.work()
    lab.stop()
    check_nothing_twice(lab)
    ended = {row["id"] for row in lab.clickhouse.query_rows("SELECT delivery_id AS id FROM deliveries_raw")}
    assert {key.rpartition(":")[2] for key in under_way} <= ended


def intent(delivery: dict[bytes, bytes]) -> dict[str, object]:
    """What is to be sent, apart from when that was decided."""
    return {**msgspec.msgpack.decode(delivery[b"b"], type=dict[str, object]), "created_at": 0}
