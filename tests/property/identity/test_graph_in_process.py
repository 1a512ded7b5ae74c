"""The graph in process is the graph on a server: the same decisions, the same records, the same bytes kept."""

from fnmatch import fnmatchcase
from typing import cast

import redis
from hypothesis import given, settings

from services.chassis.testing.fake_ledger import FakeRedis, to_bytes
from services.chassis.testing.lua_server import LuaServer
from tests.conformance.conftest import Network
from tests.property.identity.graph_lab import GraphLab, policy
from tests.property.identity.test_graph_properties import Story, check_same, connect, naive, stories, tell


class InProcess(FakeRedis):
    """What GraphLab asks of a client to look at the graph."""

    def keys(self, pattern: str) -> list[bytes]:
        kept = (self.server.strings, self.server.hashes, self.server.sets)
        return [to_bytes(key) for found in kept for key in found if fnmatchcase(key, pattern) and found[key]]

    def type(self, key: bytes) -> bytes:
        name = key.decode("utf-8", "surrogateescape")
        return b"string" if name in self.server.strings else b"hash" if name in self.server.hashes else b"set"

    def get(self, key: bytes) -> bytes:
        return self.server.strings[key.decode("utf-8", "surrogateescape")]

    def lrange(self, key: str, first: int, last: int) -> list[bytes]:  # type: ignore[override]
        return self.server.lists[key][first:] if last == -1 else self.server.lists[key][first : last + 1]

    def smembers(self, key: bytes) -> set[bytes]:  # type: ignore[override]
        return self.server.sets[key.decode()]

    def hgetall(self, key: bytes) -> dict[bytes, bytes]:
        return {name.encode(): value for name, value in self.server.hashes[key.decode()].items()}


@settings(max_examples=60, deadline=None)
@given(story=stories())
def test_a_story_ends_alike_in_process_and_on_a_server(graph_url: str, story: Story) -> None:
    network, here = Network(), Network()
    on_server = GraphLab(connect(graph_url, network), policy(6))
    in_process = GraphLab(cast("redis.Redis", InProcess(LuaServer(), here)), policy(6))
    tell(on_server, network, story)
    tell(in_process, here, story)
    assert in_process.sent == on_server.sent
    assert in_process.dump() == on_server.dump()
    check_same(in_process, naive(in_process.policy, story))
    on_server.client.close()
