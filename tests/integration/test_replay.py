"""`touchstream replay` against a real ingest and broker: interrupted, overloaded, repeated; all lines accounted for."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.settings import ROOT
from services.chassis.testing.waiting import wait_for
from tests.integration.ingest_process import IngestProcess, broker_process, ingest_process, pause, read_topic

TOUCHSTREAM = str(Path(sys.executable).parent / "touchstream")
MAPPING = """
identifiers: {user_id: customer}
event: Order Completed
timestamp: {value: day, zone: Europe/London}
order_id: order
amount: quantity * price
currency: GBP
cases:
  - {when: quantity == 0, skip: nothing ordered}
  - {when: quantity > 0}
"""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    with broker_process(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def ingest(kafka: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path) -> Iterator[IngestProcess]:
    with ingest_process(kafka[0], tmp_path, ACK_TIMEOUT_MS="500") as running:
        yield running


class Shop:
    """A CSV file, its mapping, and the command on them."""

    def __init__(self, folder: Path, name: str, lines: int) -> None:
        self.name, self.lines = name, lines
        self.file, self.mapping = folder / f"{name}.csv", folder / "mapping.yaml"
        rows = ["customer,order,quantity,price,day", *(self._row(n) for n in range(2, lines + 2))]
        self.file.write_text("\n".join(rows))
        self.mapping.write_text(MAPPING + f'message_id: "{name}-{{line}}"\n')
        self.environ = {**os.environ, "TOUCHSTREAM_LOCAL_STATE_DIR": str(folder / "state")}

    def _row(self, line: int) -> str:
        customer = "" if line % 10 == 0 else f"{self.name}-{line % 7}"
        price = "free" if line % 501 == 0 else "0.125"
        return f"{customer},o{line // 3},{line % 4},{price},2011-06-01 12:00"

    def start(self, url: str, *more: str) -> "subprocess.Popen[str]":
        command = [TOUCHSTREAM, "replay", str(self.file), "--mapping", str(self.mapping), "--url", url, "--json", *more]
        return subprocess.Popen(
            command, env=self.environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def replay(self, url: str, *more: str) -> tuple[int, dict[str, Any], str]:
        """(exit code, report, what it said beside)."""
        process = self.start(url, *more)
        out, err = process.communicate(timeout=120)
        assert out, err
        return process.returncode, json.loads(out), err

    def kept(self) -> int:
        """Lines with a verdict as the journal has it."""
        folder = Path(self.environ["TOUCHSTREAM_LOCAL_STATE_DIR"]) / "journals"
        return sum(json.loads(path.read_bytes())["tally"]["records"] for path in folder.glob("*.json"))


def counts(reasons: dict[str, Any]) -> dict[str, int]:
    return {key: reason["count"] for key, reason in reasons.items()}


def stored(bootstrap: str, topic: str, record: str, prefix: str) -> list[dict[str, Any]]:
    """What of one shop lies in a topic."""
    field = "event_id" if record == "touchpoint" else "raw"
    found = read_topic(bootstrap, topic, record)
    return [one for one in found if f"{prefix}-" in (one[field] if record == "touchpoint" else one[field].decode())]


def expected(shop: Shop) -> tuple[set[str], dict[str, int]]:
    """(message ids that are accepted, counts of the others)."""
    accepted, others = set(), Counter[str]()
    for line in range(2, shop.lines + 2):
        if line % 4 == 0:
            others["nothing ordered"] += 1
        elif line % 501 == 0:
            others["price is no number"] += 1
        elif line % 10 == 0:
            others["identifier_missing"] += 1
        else:
            accepted.add(f"{shop.name}-{line}")
    return accepted, dict(others)


def check(report: dict[str, Any], shop: Shop) -> None:
    accepted, others = expected(shop)
    assert report["finished"]
    assert (report["lines"], report["accepted"]) == (shop.lines, len(accepted))
    assert counts(report["refused"]) | counts(report["skipped"]) | counts(report["failed"]) == others


def test_a_file_arrives_whole_and_a_repetition_is_not_sent(
    ingest: IngestProcess, kafka: tuple[str, Any], tmp_path: Path
) -> None:
    shop = Shop(tmp_path, "whole", 400)
    code, report, _ = shop.replay(ingest.url)
    assert code == 0
    check(report, shop)
    touchpoints = stored(kafka[0], "touchpoints", "touchpoint", "whole")
    assert Counter(t["event_id"] for t in touchpoints) == dict.fromkeys(expected(shop)[0], 1)
    assert {t["flags"] for t in touchpoints} == {1}
    assert {t["occurred_at"] for t in touchpoints} == {1_306_926_000_000}
    # 0.125, 0.25 and 0.375 in pence, half up.
    assert {t["amount_minor"] for t in touchpoints} == {13, 25, 38}
    assert len(stored(kafka[0], "touchpoints.rejected", "rejected", "whole")) == 20

    code, second, said = shop.replay(ingest.url)
    assert (code, second) == (0, report)
    assert "was replayed" in said
    assert len(stored(kafka[0], "touchpoints", "touchpoint", "whole")) == len(touchpoints)


def test_lines_that_do_not_fit_are_named_and_make_the_exit_code(ingest: IngestProcess, tmp_path: Path) -> None:
    shop = Shop(tmp_path, "unfit", 1_100)
    code, report, _ = shop.replay(ingest.url)
    assert code == 1
    check(report, shop)
    assert report["failed"]["price is no number"]["lines"] == [501, 1002]
    assert not report["complete"]


def test_a_dry_run_sends_nothing(ingest: IngestProcess, kafka: tuple[str, Any], tmp_path: Path) -> None:
    shop = Shop(tmp_path, "dry", 200)
    code, report, _ = shop.replay(ingest.url, "--dry-run")
    assert code == 0
    assert (report["lines"], report["accepted"]) == (200, len(expected(shop)[0]))
    assert stored(kafka[0], "touchpoints", "touchpoint", "dry") == []
    assert shop.kept() == 0


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_replay_goes_on_where_it_was(
    ingest: IngestProcess, kafka: tuple[str, Any], tmp_path: Path, sign: signal.Signals
) -> None:
    name = f"broken{sign.value}"
    shop = Shop(tmp_path, name, 3_000)
    first = shop.start(ingest.url, "--rate", "500")
    wait_for(lambda: shop.kept() > 0 or first.poll() is not None, "some lines have a verdict")
    first.send_signal(sign)
    _, said = first.communicate(timeout=60)
    assert first.returncode != 0, said
    assert 0 < shop.kept() < 3_000

    _, report, said = shop.replay(ingest.url)
    assert "going on after" in said
    check(report, shop)
    found = Counter(t["event_id"] for t in stored(kafka[0], "touchpoints", "touchpoint", name))
    assert set(found) == expected(shop)[0]
    if sign == signal.SIGINT:
        # Asked to stop, it waits for the answers under way; nothing is sent twice.
        assert set(found.values()) == {1}


def test_a_broker_that_is_away_is_waited_for(
    ingest: IngestProcess, kafka: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    shop = Shop(tmp_path, "away", 400)
    pause(kafka[1])
    process = shop.start(ingest.url)
    wait_for(lambda: _refused(ingest) > 0, "ingest answered 503")
    kafka[1].send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    check(json.loads(out), shop)
    found = {t["event_id"] for t in stored(kafka[0], "touchpoints", "touchpoint", "away")}
    assert found == expected(shop)[0]


def _refused(ingest: IngestProcess) -> int:
    lines = httpx.get(f"{ingest.ops_url}/metrics").text.splitlines()
    wanted = 'requests_total{endpoint="/v1/import",status="503"}'
    return sum(int(float(line.split()[-1])) for line in lines if wanted in line)


def test_json_lines_pass_as_they_are_and_broken_ones_are_kept(
    ingest: IngestProcess, kafka: tuple[str, Any], tmp_path: Path
) -> None:
    shop = Shop(tmp_path, "json", 1)
    path = tmp_path / "history.jsonl"
    path.write_text(
        '{"broken json-1\n'
        '{"type": "track", "event": "Viewed", "userId": "j1", "messageId": "json-2", "timestamp": "2012-01-01"}\n'
        "\n"
        '{"type": "track", "event": "Viewed", "userId": "null", "messageId": "json-4"}\n'
        '{"type": "track", "event": "json-5", "userId": "j2"}'
    )
    done = subprocess.run(
        [TOUCHSTREAM, "replay", str(path), "--url", ingest.url, "--json"],
        env=shop.environ, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["lines"], report["accepted"]) == (5, 2)
    assert counts(report["refused"]) == {"json_malformed": 1, "identifier_missing": 1}
    assert report["refused"]["json_malformed"]["lines"] == [1]
    rejected = stored(kafka[0], "touchpoints.rejected", "rejected", "json")
    assert sorted(one["raw"][:9] for one in rejected) == [b'{"broken ', b'{"type": ']
