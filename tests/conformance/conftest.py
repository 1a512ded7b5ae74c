"""Every test of the ledger runs on both fakes and on a real Valkey."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.chassis.records import Decision, Output
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import Argument, FakeLedger, FakeServer, Hook
from services.chassis.testing.lua_server import LuaServer
from tests.conformance.valkey_server import valkey_server

SLOT = Slot("rules", 3)
KEY, OTHER = SLOT.key("c", "anna"), SLOT.key("c", "bert")


def output(value: bytes, partition: int = 0, topic: str = "triggers") -> Output:
    """An output whose value tells what it is."""
    return Output(topic, partition, b"anna", value, [("src", b"1.3.7")])


def change(value: bytes = b"1", *outputs: Output) -> Decision:
    """A decision that sets KEY."""
    return Decision(sets={KEY: value}, outputs=list(outputs))


class HookedRedis(redis.Redis):
    """A client that tells what it is about to ask and what it has been answered."""

    hook: Hook | None = None

    def execute_command(self, *command: Argument, **options: object) -> object:
        if self.hook is not None:
            self.hook("before", command)
        answer = super().execute_command(*command, **options)
        if self.hook is not None:
            self.hook("after", command)
        return answer


@dataclass
class Network:
    """What goes wrong between one client and the server; it counts scripts, which are what matters."""

    lose_requests: int = 0
    lose_answers: int = 0
    refuse: bool = False
    lost: list[tuple[Argument, ...]] = field(default_factory=list)

    def __call__(self, moment: str, command: tuple[Argument, ...]) -> None:
        if self.refuse:
            raise redis.ConnectionError("connection refused")
        if command[0] != "EVALSHA":
            return
        if moment == "before" and self.lose_requests:
            self.lose_requests -= 1
            self.lost.append(command)
            raise redis.ConnectionError("the request did not arrive")
        if moment == "after" and self.lose_answers:
            self.lose_answers -= 1
            raise redis.TimeoutError("the answer did not arrive")


@dataclass
class Lab:
    """One server and any number of clients of it."""

    open: Callable[[Hook | None], Ledger]
    send: Callable[[tuple[Argument, ...]], object]

    def ledger(self, network: Network | None = None) -> Ledger:
        """The ledger of one process."""
        return self.open(network)

    def claim(self, ledger: Ledger | None = None, slot: Slot = SLOT, start: int = 0) -> Claim:
        """A claim with the usual cluster and topic."""
        return (ledger or self.ledger()).claim(slot, "profile.changes", "cluster-1", "topic-1", start)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey as production runs it: appendfsync always."""
    with valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(params=["fake", "lua", "valkey"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """An empty server of every kind: the scripts' twins in Python, the scripts in process, the scripts on a server."""
    if request.param != "valkey":
        server = FakeServer() if request.param == "fake" else LuaServer()
        yield Lab(lambda hook: FakeLedger(server, hook), server.execute)
        return
    url = request.getfixturevalue("valkey_url")
    clients: list[HookedRedis] = []

    def connect(hook: Hook | None) -> Ledger:
        client = HookedRedis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=10)
        client.hook = hook
        clients.append(client)
        return Ledger(client)

    plain = redis.Redis.from_url(url)
    plain.flushall()
    yield Lab(connect, lambda command: plain.execute_command(*command))
    for client in [*clients, plain]:
        client.close()
