"""The proxy does to a connection what it says, and nothing when it is told nothing."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest

from services.chassis.testing.waiting import wait_for
from tests.chaos.rig.answers import PRODUCE, KafkaFrames, Turns
from tests.chaos.rig.proxy import Proxy, kafka_proxy
from tests.chaos.rig.trouble import Faults, Trouble


class Server:
    """Answers each line it gets with `did <line>`, and remembers what it did."""

    def __init__(self) -> None:
        self.did: list[bytes] = []
        self.partial = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = ("127.0.0.1", self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._socket.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while chunk := connection.recv(65_536):
                self.partial += chunk
                *lines, self.partial = self.partial.split(b"\n")
                for line in lines:
                    self.did.append(line)
                    connection.sendall(b"did " + line + b"\n")

    def close(self) -> None:
        # A thread that waits in accept would keep the socket listening.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Client:
    """A connection through the proxy with a short patience."""

    def __init__(self, port: int, timeout_s: float = 5.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)

    def ask(self, line: bytes) -> bytes:
        self.socket.sendall(line + b"\n")
        return self.answer()

    def answer(self) -> bytes:
        found = b""
        while not found.endswith(b"\n"):
            chunk = self.socket.recv(65_536)
            if not chunk:
                raise ConnectionResetError("closed")
            found += chunk
        return found.removesuffix(b"\n")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(0, server.address)
    yield proxy
    proxy.close()


def test_a_link_without_faults_passes_everything(proxy: Proxy) -> None:
    large = b"x" * 3_000_000
    assert Client(proxy.port).ask(large) == b"did " + large
    counters = proxy.counters
    assert (counters.connections, counters.answers, counters.bytes_up) == (1, 1, 3_000_001)


def test_delay_is_felt_each_way_and_keeps_order(proxy: Proxy, server: Server) -> None:
    client = Client(proxy.port)
    proxy.delay(40, jitter_ms=20, seed=1)
    started = time.monotonic()
    for number in range(20):
        client.socket.sendall(b"%d\n" % number)
    while len(server.did) < 20:
        client.answer()
    assert time.monotonic() - started >= 0.08
    assert server.did == [b"%d" % number for number in range(20)]
    assert proxy.counters.delayed >= 2


def test_the_same_seed_gives_the_same_jitter() -> None:
    def delays() -> list[float]:
        trouble = Trouble()
        trouble.faults = Faults(delay_s=0.1, jitter_s=0.05, random=Random(7))
        return [trouble.delay_s() for _ in range(5)]

    assert delays() == delays()
    assert len(set(delays())) == 5


def test_a_cut_link_resets_and_refuses_until_it_heals(proxy: Proxy) -> None:
    client = Client(proxy.port)
    client.ask(b"before")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.ask(b"during")
    with pytest.raises(ConnectionRefusedError):
        Client(proxy.port)
    proxy.heal()
    assert Client(proxy.port).ask(b"after") == b"did after"
    assert proxy.counters.resets == 1


def test_a_request_is_torn_after_so_many_bytes(proxy: Proxy, server: Server) -> None:
    client = Client(proxy.port)
    proxy.reset_in(6)
    assert client.ask(b"one") == b"did one"
    with pytest.raises(ConnectionResetError):
        client.ask(b"two three")
    wait_for(lambda: server.partial == b"tw", "the part before the tear arrives")
    assert server.did == [b"one"]
    assert proxy.counters.requests_torn == 1
    assert Client(proxy.port).ask(b"") == b"did tw"


def test_the_second_answer_is_lost_after_the_server_acted(proxy: Proxy, server: Server) -> None:
    client = Client(proxy.port)
    proxy.drop_answer(2)
    assert client.ask(b"one") == b"did one"
    with pytest.raises(ConnectionResetError):
        client.ask(b"two")
    assert server.did == [b"one", b"two"]
    assert proxy.counters.answers_dropped == 1
    assert Client(proxy.port).ask(b"three") == b"did three"


def test_only_answers_to_the_wanted_requests_are_lost(server: Server) -> None:
    proxy = Proxy(0, server.address, lambda: Turns(b"apply"))
    client = Client(proxy.port)
    proxy.drop_answer(1, kind=1)
    assert client.ask(b"read") == b"did read"
    with pytest.raises(ConnectionResetError):
        client.ask(b"apply this")
    assert server.did == [b"read", b"apply this"]
    proxy.close()


def test_a_half_open_link_is_deaf_and_delivers_late(proxy: Proxy, server: Server) -> None:
    old = Client(proxy.port, timeout_s=0.2)
    old.ask(b"before")
    proxy.half_open()
    with pytest.raises(TimeoutError):
        old.ask(b"held")
    with pytest.raises(TimeoutError):
        Client(proxy.port, timeout_s=0.2).ask(b"held too")
    assert server.did == [b"before"]
    proxy.heal()
    wait_for(lambda: len(server.did) == 3, "what was held arrives, though its client has given up")
    assert old.answer() == b"did held"
    assert proxy.counters.held >= 2


def test_answers_are_held_while_requests_go_through(proxy: Proxy, server: Server) -> None:
    client = Client(proxy.port, timeout_s=0.2)
    proxy.hold_answers()
    with pytest.raises(TimeoutError):
        client.ask(b"one")
    assert server.did == [b"one"]
    proxy.heal()
    assert client.answer() == b"did one"


def test_held_answers_can_be_lost_for_good(proxy: Proxy, server: Server) -> None:
    client = Client(proxy.port)
    proxy.hold_answers()
    client.socket.sendall(b"one\n")
    wait_for(lambda: server.did == [b"one"], "the request arrives")
    proxy.drop_held()
    with pytest.raises(ConnectionResetError):
        client.answer()
    assert Client(proxy.port).ask(b"two") == b"did two"


def test_heal_takes_back_what_has_not_struck(proxy: Proxy) -> None:
    proxy.drop_answer(1)
    proxy.reset_in(1)
    proxy.delay(5_000)
    proxy.heal()
    assert Client(proxy.port, timeout_s=2.0).ask(b"one") == b"did one"


def test_a_target_that_is_away_resets_the_client(proxy: Proxy, server: Server) -> None:
    server.close()
    with pytest.raises(ConnectionResetError):
        Client(proxy.port).ask(b"one")
    assert proxy.counters.refused == 1


def test_a_second_way_shares_the_faults_of_its_link(proxy: Proxy, server: Server) -> None:
    port = proxy.also(0, server.address)
    assert Client(port).ask(b"one") == b"did one"
    proxy.cut()
    with pytest.raises(ConnectionRefusedError):
        Client(port)


def _request(key: int, correlation: int, body: bytes = b"body") -> bytes:
    return struct.pack(">ihhi", 8 + len(body), key, 9, correlation) + body


def _response(correlation: int, body: bytes = b"done") -> bytes:
    return struct.pack(">ii", 4 + len(body), correlation) + body


@pytest.mark.parametrize("size", [1, 3, 7, 1_000])
def test_kafka_answers_are_found_in_any_pieces(size: int) -> None:
    fetch = 1
    asked = _request(PRODUCE, 1, b"x" * 100) + _request(fetch, 2) + _request(PRODUCE, 3, b"")
    answered = _response(2) + _response(1, b"y" * 50) + _response(3)
    frames = KafkaFrames()
    for at in range(0, len(asked), size):
        frames.asked(asked[at : at + size])
    found = [kind for at in range(0, len(answered), size) for _, kind in frames.begun(answered[at : at + size])]
    assert found == [fetch, PRODUCE, PRODUCE]


def test_the_answer_of_a_pipelined_produce_is_lost_and_not_the_one_before_it() -> None:
    fetch = 1
    with socket.create_server(("127.0.0.1", 0)) as broker:
        proxy = kafka_proxy(0, ("127.0.0.1", broker.getsockname()[1]))
        proxy.drop_answer(1, kind=PRODUCE)
        client = Client(proxy.port).socket
        server, _ = broker.accept()
        client.sendall(_request(fetch, 1) + _request(PRODUCE, 2))
        wait_for(lambda: len(server.recv(65_536, socket.MSG_PEEK)) == 32, "both requests arrive")
        server.sendall(_response(1) + _response(2))
        assert client.recv(65_536, socket.MSG_WAITALL) == _response(1)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        proxy.close()
