"""`touchstream replay --clock event` on the whole stack: fourteen months of a few people, told as they would have been.

What is expected is counted out by hand from the conditions in deploy/config/tags.yaml, in business days before today.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from services.chassis.testing.waiting import wait_for
from tests.e2e.conftest import RunningStack

pytestmark = pytest.mark.timeout(900)
ZONE = ZoneInfo("Asia/Shanghai")
OURS = "event_id LIKE 'lived-%'"
QUIET_MS = 60_000  # TOUCHSTREAM_PROFILE_IMPORT_QUIET_S
ORDER, VISIT = "Order Completed", "Product Viewed"
# Person → (days before today, event). By day they are one file.
LIVES = {
    "anna": [(425, "Registered"), (420, ORDER), (400, ORDER), (20, ORDER)],
    "bert": [(300, VISIT)],
    "cleo": [(200, ORDER), (150, ORDER), (120, ORDER), (60, ORDER)],
    "dora": [(400, ORDER), (390, ORDER), (380, ORDER), (370, ORDER)],
    "emil": [(250, VISIT), (249, VISIT)],
}
STAGES = {
    "anna": [
        (425, "", "prospect"), (420, "prospect", "first_purchase"), (400, "first_purchase", "repeat"),
        (219, "repeat", "dormant"), (34, "dormant", "churned"), (20, "churned", "repeat"),
    ],
    "bert": [(300, "", "prospect"), (119, "prospect", "dormant")],
    "cleo": [(200, "", "first_purchase"), (150, "first_purchase", "repeat"), (60, "repeat", "loyal")],
    "dora": [
        (400, "", "first_purchase"), (390, "first_purchase", "repeat"), (370, "repeat", "loyal"),
        (279, "loyal", "repeat"), (189, "repeat", "dormant"), (4, "dormant", "churned"),
    ],
    "emil": [(250, "", "prospect"), (68, "prospect", "dormant"), (0, "dormant", "first_purchase")],
}  # fmt: skip
# Those that scores, whose thresholds are of today, have no part in.
TAGS = ("newcomer", "new_customer", "login_lapsed_30d", "at_risk", "dormant", "churned", "segment:win_back")
TAG_CHANGES = {
    "anna": [
        (425, "added", "newcomer"), (420, "added", "new_customer"), (395, "removed", "newcomer"),
        (389, "removed", "new_customer"), (369, "added", "login_lapsed_30d"), (309, "added", "at_risk"),
        (309, "added", "segment:win_back"), (219, "added", "dormant"), (34, "added", "churned"),
        (34, "removed", "dormant"), (20, "removed", "at_risk"), (20, "removed", "churned"),
        (20, "removed", "login_lapsed_30d"), (20, "removed", "segment:win_back"),
    ],
    "bert": [(209, "added", "at_risk"), (119, "added", "dormant")],
}  # fmt: skip


@cache
def today() -> date:
    """The day on which the first test began: histories count back from it, whatever the clock says at the end."""
    return datetime.now(ZONE).date()


def messages() -> Iterator[dict[str, object]]:
    """The file, in the order of its times."""
    told = sorted(((days, name, event) for name, life in LIVES.items() for days, event in life), reverse=True)
    for number, (days, name, event) in enumerate(told):
        at = datetime.combine(today() - timedelta(days=days), time(12), ZONE)
        order = {"order_id": f"lived-{number}", "total": 90 + number, "currency": "CNY"} if event == ORDER else {}
        yield {
            "type": "track", "event": event, "userId": f"lived-{name}", "messageId": f"lived-{number}",
            "timestamp": at.isoformat(), "properties": order,
        }  # fmt: skip


@dataclass
class Lived:
    """The stack after the import, and who is who."""

    stack: RunningStack
    file: Path
    ids: dict[str, str] = field(default_factory=dict)

    def replay(self, *more: str) -> dict[str, int]:
        """The command; its report."""
        report: dict[str, int] = json.loads(
            self.stack.must("replay", str(self.file), "--clock", "event", "--json", *more)
        )
        return report

    def send(self, name: str, message_id: str, event: str, **properties: object) -> None:
        """Something happens now."""
        message = {"type": "track", "event": event, "userId": f"lived-{name}", "messageId": message_id}
        body = {"batch": [message | {"properties": properties}]}
        url = f"{self.stack.ingest_url}/v1/batch"
        httpx.post(url, json=body, auth=("local", ""), timeout=60).raise_for_status()

    def changes(self, columns: str, table: str, where: str = "1") -> dict[str, list[tuple[object, ...]]]:
        """Person → (days before today, columns) in the order in which they were told."""
        names = {customer: name for name, customer in self.ids.items()}
        found: dict[str, list[tuple[object, ...]]] = {}
        for customer, at, *values in self.stack.query(
            f"SELECT customer_id, toUnixTimestamp64Milli(occurred_at), {columns} FROM {table} WHERE customer_id IN"
            f" {tuple(names)} AND {where} ORDER BY changed_at, occurred_at, 3, 4"
        ):
            assert isinstance(at, int)
            day = datetime.fromtimestamp(at / 1000, ZONE).date()
            found.setdefault(names[str(customer)], []).append(((today() - day).days, *values))
        return found

    def stages(self) -> dict[str, list[tuple[object, ...]]]:
        """Every change of a stage."""
        return self.changes("stage_from, stage_to", "stage_changes")

    def tags(self) -> dict[str, list[tuple[object, ...]]]:
        """Every change of a tag that hangs on time and events alone."""
        return self.changes("change, tag", "tag_changes", f"tag IN {TAGS}")


@pytest.fixture(scope="module")
def lived(running_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Everybody has lived until now; emil by something live that came at once, the others when the import was over."""
    file = tmp_path_factory.mktemp("lives") / "lives.jsonl"
    file.write_text("".join(json.dumps(message) + "\n" for message in messages()), encoding="utf-8")
    lived = Lived(running_stack, file)
    report = lived.replay()
    assert (report["accepted"], report["complete"]) == (sum(map(len, LIVES.values())), True)
    running_stack.settle()
    lived.send("emil", "live-emil", ORDER, order_id="live-emil", total=12, currency="CNY")
    asked = "\n".join(f"user_id:lived-{name}" for name in LIVES)
    shown = running_stack.must("resolve", stdin=asked).splitlines()
    lived.ids = dict(zip(LIVES, [json.loads(line)["customer_id"] for line in shown], strict=True))
    wait_for(lambda: lived.stages() == STAGES, "everybody has lived until now", 300, 1.0)
    running_stack.settle()
    return lived


def test_stages_begin_and_end_on_the_days_of_history_in_its_order(lived: Lived) -> None:
    assert lived.stages() == STAGES


def test_tags_begin_and_end_on_the_days_of_history_in_its_order(lived: Lived) -> None:
    found = lived.tags()
    assert {name: found[name] for name in TAG_CHANGES} == TAG_CHANGES


def test_the_day_that_time_brought_about_is_the_days_begin_and_names_the_event_before(lived: Lived) -> None:
    ((at_ms, kind, reason),) = lived.stack.query(
        "SELECT toUnixTimestamp64Milli(occurred_at), kind, reason FROM tag_changes"
        f" WHERE customer_id = '{lived.ids['anna']}' AND tag = 'at_risk' AND change = 'added'"
    )
    begin = datetime.combine(today() - timedelta(days=309), time(), ZONE)
    assert (at_ms, kind) == (int(begin.timestamp() * 1000), "tick")
    last = today() - timedelta(days=400)
    assert reason == f"no interaction or purchase since {last} (91 days)"


def test_what_followed_the_last_event_was_told_when_the_import_had_been_quiet(lived: Lived) -> None:
    ((changed_ms, last_ms),) = lived.stack.query(
        "SELECT (SELECT toUnixTimestamp64Milli(max(changed_at)) FROM stage_changes WHERE stage_to = 'dormant'"
        f" AND customer_id = '{lived.ids['bert']}'),"
        f" (SELECT toUnixTimestamp64Milli(max(received_at)) FROM events WHERE {OURS})"
    )
    assert isinstance(changed_ms, int)
    assert isinstance(last_ms, int)
    assert changed_ms - last_ms >= QUIET_MS


def test_rules_fire_for_what_is_live_and_for_nothing_of_the_history(lived: Lived) -> None:
    """emil's order is his first. anna has bought in her history; her registration now is greeted as anybody's."""
    lived.send("anna", "live-anna-1", ORDER, order_id="live-anna", total=12, currency="CNY")
    lived.send("anna", "live-anna-2", "Registered")
    lived.stack.settle()
    fired = lived.stack.query(
        f"SELECT rule, event_id FROM triggers WHERE customer_id IN {tuple(lived.ids.values())} ORDER BY rule"
    )
    assert fired == [("first-order", "live-emil"), ("welcome", "live-anna-2")]


def test_the_same_file_once_more_changes_nothing(lived: Lived) -> None:
    before = lived.stack.query("SELECT customer_id, n, stage FROM customers ORDER BY customer_id")
    tags = lived.tags()
    assert lived.replay("--again")["accepted"] == sum(map(len, LIVES.values()))
    lived.stack.settle()
    assert lived.stack.query("SELECT customer_id, n, stage FROM customers ORDER BY customer_id") == before
    assert lived.tags() == tags
    assert lived.stages() == STAGES


def test_everybody_is_what_the_events_come_to(lived: Lived) -> None:
    asked = [word for one in lived.ids.values() for word in ("--customer", one)]
    found = json.loads(lived.stack.must("verify", "profiles", "--json", *asked))
    assert (found["equal"], found["customers"], found["waiting"], found["differences"]) == (True, len(LIVES), 0, [])


def test_a_file_that_is_not_in_order_is_refused_and_nothing_of_it_sent(lived: Lived, tmp_path: Path) -> None:
    lines = lived.file.read_text(encoding="utf-8").splitlines()
    file = tmp_path / "backwards.jsonl"
    file.write_text("\n".join(reversed(lines)).replace("lived-", "backwards-"), encoding="utf-8")
    lived.stack.must("replay", str(file), "--clock", "event", code=1)
    assert lived.stack.query("SELECT count() FROM events WHERE event_id LIKE 'backwards-%'") == [(0,)]
