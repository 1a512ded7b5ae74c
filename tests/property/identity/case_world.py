"""One deployment for the table of cases: the real script under the shipped policy, and profile behind it.

Sources beyond it: `login` may call a phone verified, at `call-centre` a phone is an attribute.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import redis
import yaml

from services.chassis.ids import uuid_text
from services.chassis.records import Output, Record
from services.chassis.testing.lua_server import LuaServer
from services.identity.adapters import current_homes
from services.identity.core.policy import Policy, parse_policy
from services.identity.handler import CHANGES, RESOLVED
from services.ingest.core.envelope import Message
from services.ingest.core.model import Accepted, Arrival, Touchpoint
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import decide
from services.profile.core.summary import traits_of
from tests.conformance.conftest import Network
from tests.property.identity.graph_lab import CODECS, GraphLab
from tests.property.identity.naive_graph import Touch
from tests.property.identity.profile_behind import ProfileBehind
from tests.property.identity.test_graph_in_process import InProcess
from tests.unit.profile.profile_builders import NOW_MS, at

REPO = Path(__file__).resolve().parents[3]
DAY_MS = 86_400_000
SOURCES = {"login": {"verified": ["phone"]}, "call-centre": {"attributes": ["phone"]}}
U1, U2, P1, P2 = "user_id:u1", "user_id:u2", "phone:+8613800138001", "phone:+8613800138002"
PAIR = b'{"pair": true}'
A1, A2, D1, MAIL = "anonymous_id:a1", "anonymous_id:a2", "device_id:d1", "email:a@b.cn"


@dataclass
class World:
    """The graph of one deployment."""

    changed: dict[str, Any] = field(default_factory=dict)
    now_ms: int = 1_800_000_000_000
    changes: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)  # (customer, node)
    log: list[tuple[str, str]] = field(default_factory=list)  # (customer, kind of record)
    dead: list[str] = field(default_factory=list)  # what dead letters say
    told: int = 0

    def __post_init__(self) -> None:
        self.profile = ProfileBehind()
        self.lab = GraphLab(cast("redis.Redis", InProcess(LuaServer(), Network())), self._policy())

    def _policy(self) -> Policy:
        document = yaml.safe_load((REPO / "deploy/config/identity.yaml").read_text(encoding="utf-8"))
        for name, value in self.changed.items():
            document[name] = document[name] | value if isinstance(value, dict) else value
        return parse_policy(document | {"sources": SOURCES})

    def obey(self, changed: dict[str, Any]) -> None:
        """Another policy from here on: a restart of identity on the same graph and log."""
        self.changed = changed
        before = self.lab
        self.lab = GraphLab(before.client, self._policy(), before.log, before.touches)

    def tell(self, *ids: str, **said: Any) -> list[str]:
        """One touchpoint, as in say; the kinds of changes that it and what waited before it made."""
        self.say(*ids, **said)
        entry = self.lab.step(0)
        return self._hear(entry.outputs if entry is not None else [])

    def say(
        self, *ids: str, kind: str = "track", source: str = "shop", flags: int = 0, days: int = 0, message: str = "",
        properties: bytes = b"{}", occurred: int = at(30), traits: bytes = b"{}",
    ) -> None:  # fmt: skip
        """One touchpoint, some days after the last one, waits to be worked off together with the next one told."""
        self.now_ms += days * DAY_MS
        self.told += 1
        place = 0, len(self.lab.log[0])
        value = CODECS["touchpoint"].encode(
            {
                "event_id": message or f"m{self.told}", "source": source, "type": kind, "name": "Visited",
                "identifiers": list(ids), "occurred_at": occurred, "received_at": NOW_MS, "flags": flags,
                "properties": properties, "traits": traits,
            }
        )  # fmt: skip
        self.lab.touches[place] = Touch("event", ids, message, place)
        self.lab.log[0].append(Record("touchpoints", *place, b"k", value, {}, self.now_ms))

    def _hear(self, outputs: list[Output]) -> list[str]:
        self.profile.take(outputs, NOW_MS)
        new = []
        for output in outputs:
            if output.topic == CHANGES:
                new.append(CODECS["identity_change"].decode(output.value))
            elif output.topic == RESOLVED:
                headers, customer = dict(output.headers), output.key.decode()
                self.log.append((customer, headers["kind"].decode()))
                if headers["kind"] == b"event":
                    self.events.append((customer, headers["node"].decode()))
            else:
                self.dead.append(CODECS["dead_letter"].decode(output.value)["error"])
        self.changes += new
        return [change["kind"] for change in new]

    def whose(self, *ids: str) -> list[str]:
        """Their customers; empty for nobody."""
        homes = current_homes(self.lab.client, [self.lab.encode(x) for x in ids])
        return [uuid_text(home.customer) if home and home.customer else "" for home in homes]

    def is_one(self, *ids: str) -> bool:
        found = self.whose(*ids)
        return len(set(found)) == 1 and found[0] != ""

    def last(self) -> dict[str, Any]:
        return self.changes[-1]

    def traits(self, identifier: str) -> dict[str, Any]:
        """What profile says of the identifier's customer."""
        (customer,) = self.whose(identifier)
        return traits_of(tuple(self.profile.states()[customer].parts.values()))


def counted(counter: Any) -> float:
    """How far a counter of the process is."""
    return next(sample.value for metric in counter.collect() for sample in metric.samples)


def from_sdk(source: Source | None = None, **message: Any) -> Touchpoint:
    """What ingest makes of a call."""
    verdict = decide(Message(**message), Arrival(source or Source("shop"), 1), lambda: "m")
    assert isinstance(verdict, Accepted), verdict
    return verdict.touchpoint
