"""Every request and Python snippet of the README is carried out: on a real ingest, a real ClickHouse, a real sink."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from cli.markdown import FENCE
from services.chassis.clock import now_ms
from services.notify.channels.sink import SinkStore
from services.notify.channels.sink_server import SinkServer
from tests.gates.test_readme import README, section, shell_lines
from tests.integration import archive_backends
from tests.integration.ingest_process import broker_process, ingest_process, read_topic

INGEST, CLICKHOUSE, SINK = 8080, 18123, 9115


@dataclass(frozen=True, slots=True)
class Places:
    """Where the README's ports lead in this test, and the broker behind ingest."""

    ports: dict[int, int]
    kafka: str


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("readme")
    with ExitStack() as stack:
        kafka, _ = stack.enter_context(broker_process(folder))
        ingest = stack.enter_context(ingest_process(kafka, folder))
        url = stack.enter_context(archive_backends.clickhouse(archive_backends.settings_of(folder)))
        stack.enter_context(archive_backends.database(url, "touchstream"))
        sink = SinkServer("127.0.0.1", 0, SinkStore(10, now_ms))
        stack.callback(sink.close)
        ports = {INGEST: ingest.url, CLICKHOUSE: url}
        yield Places({name: urlsplit(found).port or 0 for name, found in ports.items()} | {SINK: sink.port}, kafka)


def curl_request(line: str, ports: dict[int, int]) -> httpx.Request:
    """What curl would send. Raises ValueError for an option that this reading of curl does not know."""
    words = iter(shlex.split(line)[1:])
    url, data, auth = "", None, None
    for word in words:
        if word == "-u":
            name, _, password = next(words).partition(":")
            auth = httpx.BasicAuth(name, password)
        elif word == "-d":
            data = next(words)
        elif word.startswith("-"):
            raise ValueError(f"{line}: option {word}")
        else:
            url = moved(word, ports)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if data is not None else {}
    request = httpx.Request("GET" if data is None else "POST", url, content=data, headers=headers)
    return next(auth.sync_auth_flow(request)) if auth else request


def moved(text: str, ports: dict[int, int]) -> str:
    """The text with this test's ports in the place of the README's."""
    return re.sub(r"127\.0\.0\.1:(\d+)", lambda match: f"127.0.0.1:{ports[int(match[1])]}", text)


def curls() -> list[str]:
    return [line for line in shell_lines(README.read_text()) if line.startswith("curl ")]


def snippets(language: str) -> list[str]:
    return [m[2] for m in FENCE.finditer(README.read_text()) if m[0].startswith(f"```{language}\n")]


def stored(places: Places) -> list[tuple[str, str]]:
    return [(t["name"], t["identifiers"][0]) for t in read_topic(places.kafka, "touchpoints", "touchpoint")]


@pytest.mark.parametrize("line", curls())
def test_a_request_of_the_readme_is_answered(places: Places, line: str) -> None:
    with httpx.Client(timeout=30) as client:
        answer = client.send(curl_request(line, places.ports))
    assert answer.status_code == 200, answer.text


def test_the_readme_shows_requests_to_ingest_clickhouse_and_the_sink() -> None:
    named = {port for line in curls() for port in (INGEST, CLICKHOUSE, SINK) if f":{port}/" in line}
    assert named == {INGEST, CLICKHOUSE, SINK}


def test_a_wrong_column_in_the_readme_would_be_found(places: Places) -> None:
    line = next(line for line in curls() if "SELECT stage" in line).replace("SELECT stage", "SELECT phase")
    assert httpx.Client().send(curl_request(line, places.ports)).status_code != 200


@pytest.mark.parametrize("code", snippets("python"), ids=["segment", "rudderstack"])
def test_a_python_snippet_of_the_readme_stores_its_events(places: Places, code: str, tmp_path: Path) -> None:
    before = len(stored(places))
    script = tmp_path / "snippet.py"
    script.write_text(moved(code, places.ports))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    calls = re.findall(r"^analytics\.(?:identify|track)\(", code, re.MULTILINE)
    after = stored(places)
    assert len(after) - before == len(calls) > 0
    assert {who for _, who in after} == {"user_id:u-1001"}


@pytest.mark.parametrize("lines", snippets("json"))
def test_a_line_of_history_in_the_readme_is_accepted_by_import(places: Places, lines: str) -> None:
    url = moved(f"http://127.0.0.1:{INGEST}/v1/import", places.ports)
    answer = httpx.post(url, content=lines, auth=("local", ""), timeout=30)
    assert (answer.status_code, answer.json()["accepted"]) == (200, len(lines.splitlines())), answer.text


def test_the_answers_shown_for_the_example_customer_fit_the_requests() -> None:
    shown = section(README.read_text(), "Look at customers")
    (first, *_) = [json.loads(shlex.split(line)[-1]) for line in curls() if "/v1/identify" in line]
    assert f"anonymous_id:{first['anonymousId']}" in shown
    assert first["traits"]["name"] in shown
    assert first["traits"]["email"] in shown
