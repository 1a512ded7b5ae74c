"""A Schema Registry's ids, against a small one of our own that speaks its HTTP interface."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from services.chassis.avro import Codec
from services.chassis.errors import Fatal, Poison, Retriable
from services.chassis.registry import CommittedRegistry, ConfluentRegistry, open_registry
from services.chassis.testing.examples import all_examples

EXAMPLE = next(all_examples("touchpoint"))


class RegistryServer(ThreadingHTTPServer):
    """Lookup, registration and fetching as Confluent's interface answers them; `fail_with` answers everything."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schemas: dict[str, list[str]] = {}
        self.by_id: dict[int, str] = {}
        self.requests: list[str] = []
        self.fail_with = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def register(self, subject: str, text: str) -> int:
        known = next((number for number, schema in self.by_id.items() if schema == text), len(self.by_id) + 1)
        self.by_id[known] = text
        self.schemas.setdefault(subject, []).append(text)
        return known


class _Handler(BaseHTTPRequestHandler):
    server: RegistryServer

    def do_GET(self) -> None:
        wanted = int(self.path.split("?")[0].rsplit("/", 1)[1])
        found = self.server.by_id.get(wanted)
        self._answer(200 if found else 404, {"schema": found} if found else {"error_code": 40403, "message": "none"})

    def do_POST(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
        if parts[-1] == "versions":
            self._answer(200, {"id": self.server.register(parts[1], text)})
        elif text in self.server.schemas.get(parts[1], []):
            number = next(number for number, schema in self.server.by_id.items() if schema == text)
            self._answer(200, {"subject": parts[1], "id": number, "version": 1, "schema": text})
        else:
            self._answer(404, {"error_code": 40401, "message": "Subject not found."})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self.server.requests.append(f"{self.command} {self.path.split('?')[0]}")
        if self.server.fail_with:
            status, body = self.server.fail_with, {"error_code": self.server.fail_with, "message": "planted"}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_no_url_means_the_committed_ids() -> None:
    assert isinstance(open_registry(""), CommittedRegistry)
    assert isinstance(open_registry("http://127.0.0.1:1"), ConfluentRegistry)


def test_the_first_writer_registers_under_the_records_name_and_asks_no_more(server: RegistryServer) -> None:
    server.register("something.else", '"string"')
    codec = Codec("touchpoint", ConfluentRegistry(server.url))
    values = [codec.encode(EXAMPLE.fields) for _ in range(3)]
    assert {value[:5] for value in values} == {b"\x00\x00\x00\x00\x02"}
    assert server.requests == [
        "POST /subjects/touchstream.touchpoint",
        "POST /subjects/touchstream.touchpoint/versions",
    ]
    assert server.by_id[2] == codec.schema.text


def test_the_next_process_only_looks_it_up(server: RegistryServer) -> None:
    for _ in range(2):
        server.requests.clear()
        Codec("touchpoint", ConfluentRegistry(server.url)).encode(EXAMPLE.fields)
    assert server.requests == ["POST /subjects/touchstream.touchpoint"]


def test_a_reader_fetches_each_schema_once_and_registers_nothing(server: RegistryServer) -> None:
    value = Codec("touchpoint", ConfluentRegistry(server.url)).encode(EXAMPLE.fields)
    server.requests.clear()
    reader = Codec("touchpoint", ConfluentRegistry(server.url))
    assert [reader.decode(value) for _ in range(3)] == [EXAMPLE.fields] * 3
    assert server.requests == ["GET /schemas/ids/1"]


def test_values_from_before_the_registry_stay_readable(server: RegistryServer) -> None:
    reader = Codec("touchpoint", ConfluentRegistry(server.url))
    assert reader.decode(EXAMPLE.value) == EXAMPLE.fields
    assert server.requests == []


def test_an_id_that_the_registry_does_not_know_is_poison(server: RegistryServer) -> None:
    with pytest.raises(Poison, match=r"schema id 9 is unknown to http://127"):
        Codec("touchpoint", ConfluentRegistry(server.url)).decode(b"\x00\x00\x00\x00\x09rest")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_in_trouble_is_worth_another_try(server: RegistryServer, status: int) -> None:
    codec = Codec("touchpoint", ConfluentRegistry(server.url))
    server.fail_with = status
    with pytest.raises(Retriable, match=r"looking up touchstream\.touchpoint: planted"):
        codec.encode(EXAMPLE.fields)
    with pytest.raises(Retriable, match="fetching schema 1: planted"):
        codec.decode(b"\x00\x00\x00\x00\x01rest")
    server.fail_with = 0
    assert codec.decode(codec.encode(EXAMPLE.fields)) == EXAMPLE.fields


@pytest.mark.parametrize("status", [401, 403, 409, 422])
def test_a_refusal_stops_with_what_to_look_at(server: RegistryServer, status: int) -> None:
    server.fail_with = status
    with pytest.raises(Fatal, match=r"refused looking up touchstream.touchpoint: planted .*Check the account's rights"):
        Codec("touchpoint", ConfluentRegistry(server.url)).encode(EXAMPLE.fields)


def test_a_registry_that_is_away_is_worth_another_try_and_keeps_its_password(server: RegistryServer) -> None:
    url = server.url.replace("http://", "http://us:secret@").replace(str(server.server_port), "1")
    with pytest.raises(Retriable, match=r"^127.0.0.1:1: looking up touchstream.touchpoint: no answer") as raised:
        Codec("touchpoint", ConfluentRegistry(url)).encode(EXAMPLE.fields)
    assert "secret" not in str(raised.value)
