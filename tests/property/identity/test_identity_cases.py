"""The table of cases in services/identity/README.md, a test per row: the real script, under the shipped policy.

Sources beyond it: `login` may call a phone verified, at `call-centre` a phone is an attribute.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import redis
import yaml

from services.chassis.ids import uuid_text
from services.chassis.records import Record
from services.chassis.testing.lua_server import LuaServer
from services.identity.adapters import current_homes
from services.identity.core.policy import parse_policy
from services.identity.handler import CHANGES, RESOLVED
from services.ingest.core.envelope import Message
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.source import CONTROL_TYPES, STANDARD_TYPES, Source
from services.ingest.core.touchpoint import decide
from services.profile.core.view import view
from tests.conformance.conftest import Network
from tests.property.identity.graph_lab import CODECS, GraphLab
from tests.property.identity.naive_graph import Touch
from tests.property.identity.profile_behind import ProfileBehind
from tests.property.identity.test_graph_in_process import InProcess
from tests.unit.profile.profile_builders import CONFIG, NOW_MS, at

REPO = Path(__file__).resolve().parents[3]
DAY_MS = 86_400_000
SOURCES = {"login": {"verified": ["phone"]}, "call-centre": {"attributes": ["phone"]}}
U1, U2, P1, P2 = "user_id:u1", "user_id:u2", "phone:+8613800138001", "phone:+8613800138002"
A1, A2, D1, MAIL = "anonymous_id:a1", "anonymous_id:a2", "device_id:d1", "email:a@b.cn"


@dataclass
class World:
    """The graph of one deployment."""

    changed: dict[str, Any] = field(default_factory=dict)
    now_ms: int = 1_800_000_000_000
    changes: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)  # (customer, node)
    told: int = 0

    def __post_init__(self) -> None:
        document = yaml.safe_load((REPO / "deploy/config/identity.yaml").read_text(encoding="utf-8"))
        for name, value in self.changed.items():
            document[name] = document[name] | value if isinstance(value, dict) else value
        policy = parse_policy(document | {"sources": SOURCES})
        self.profile = ProfileBehind()
        self.lab = GraphLab(cast("redis.Redis", InProcess(LuaServer(), Network())), policy)

    def tell(
        self, *ids: str, kind: str = "track", source: str = "shop", flags: int = 0, days: int = 0, message: str = "",
        properties: bytes = b"{}", occurred: int = at(30),
    ) -> list[str]:  # fmt: skip
        """One touchpoint, some days after the last one; the kinds of changes it made."""
        self.now_ms += days * DAY_MS
        self.told += 1
        place = 0, len(self.lab.log[0])
        value = CODECS["touchpoint"].encode(
            {
                "event_id": message or f"m{self.told}", "source": source, "type": kind, "name": "Visited",
                "identifiers": list(ids), "occurred_at": occurred, "received_at": NOW_MS, "flags": flags,
                "properties": properties,
            }
        )  # fmt: skip
        self.lab.touches[place] = Touch("event", ids, message, place)
        self.lab.log[0].append(Record("touchpoints", *place, b"k", value, {}, self.now_ms))
        entry = self.lab.step(0)
        self.profile.take(entry.outputs if entry is not None else [], NOW_MS)
        new = []
        for output in entry.outputs if entry is not None else []:
            if output.topic == CHANGES:
                new.append(CODECS["identity_change"].decode(output.value))
            elif output.topic == RESOLVED and ("kind", b"event") in output.headers:
                self.events.append((output.key.decode(), dict(output.headers)["node"].decode()))
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


def from_sdk(**message: Any) -> list[str]:
    """The identifiers that ingest makes of a call."""
    verdict = decide(Message(**message), Arrival(Source("shop"), 1), lambda: "m")
    assert isinstance(verdict, Accepted), verdict
    return verdict.touchpoint.identifiers


def test_an_event_links_all_its_identifiers() -> None:
    world = World()
    assert world.tell(A1, U1, P1) == ["linked"]
    assert world.is_one(U1, P1, A1)
    assert world.events[0][1].startswith("user_id:"), "the strongest leads"


def test_two_customers_in_one_event_become_one_and_the_older_survives() -> None:
    world = World()
    world.tell(A1)
    world.tell(U1)
    (older,) = world.whose(A1)
    assert world.tell(U1, A1) == ["merged"]
    assert world.whose(U1, A1) == [older, older]


def test_merges_of_merges_and_repeated_merges_end_in_the_oldest() -> None:
    world = World()
    for one in (A1, D1, P1, MAIL):
        world.tell(one)
    oldest = world.whose(A1)
    world.tell(P1, MAIL)
    world.tell(P1, D1)
    world.tell(MAIL, A1)
    assert world.whose(A1, D1, P1, MAIL) == oldest * 4
    assert world.tell(MAIL, A1) == [], "again: nothing new"


def test_an_alias_joins_the_previous_anonymous_id() -> None:
    world = World()
    world.tell(A1)
    ids = from_sdk(type="alias", user_id="u1", previous_id="a1")
    assert ids == [U1, A1]
    assert world.tell(*ids, kind="alias") == ["linked"]
    assert world.is_one(U1, A1)


def test_an_alias_of_two_user_ids_is_a_conflict() -> None:
    world = World()
    world.tell(U1)
    world.tell(U2)
    assert world.tell(U2, U1, kind="alias") == ["conflict"]
    assert not world.is_one(U1, U2)


def test_a_group_identifies_nobody() -> None:
    message = {"type": "group", "user_id": "u1", "group_id": "g1", "traits": {"email": "desk@shop.cn", "name": "Gold"}}
    assert from_sdk(**message) == [U1], "neither the group's id nor its e-mail"


def test_equal_values_of_different_kinds_are_different_identifiers() -> None:
    world = World()
    world.tell("user_id:42")
    world.tell("anonymous_id:42")
    assert not world.is_one("user_id:42", "anonymous_id:42")


def test_an_identifier_in_two_scopes_is_two() -> None:
    world = World()
    world.tell("openid:app1/o")
    world.tell("openid:app2/o")
    assert not world.is_one("openid:app1/o", "openid:app2/o")
    world.tell("openid:o", U1)
    assert world.whose("openid:o") == [""], "without its scope it is none"


@pytest.mark.parametrize("value", ["user_id:null", "user_id:Undefined", "anonymous_id:0", "device_id:anonymous"])
def test_a_placeholder_identifies_nobody(value: str) -> None:
    world = World()
    world.tell(U1, value)
    world.tell(U2, value)
    assert world.whose(value) == [""]
    assert not world.is_one(U1, U2)


def test_an_anonymous_id_reused_after_logout_stays_with_its_first_owner() -> None:
    world = World()
    world.tell(U1, A1)
    assert world.tell(U2, A1) == ["conflict", "linked"]
    assert not world.is_one(U1, U2)
    world.tell(A1)
    assert world.events[-1][0] == world.whose(U1)[0]


def test_two_values_of_a_unique_kind_never_merge_and_both_customers_are_named() -> None:
    world = World()
    world.tell(U1, P1)
    world.tell(U2)
    assert world.tell(U2, P1) == ["conflict"]
    assert [world.last()["customer_id"], world.last()["from_id"]] == world.whose(U2, P1)
    assert world.last()["reason"].startswith("unique user_id")
    assert world.events[-1][0] == world.whose(U2)[0]


def test_beyond_a_limit_the_identifier_is_left_out_and_the_rest_is_tried() -> None:
    world = World({"kinds": {"phone": {"code": 4, "limit": 1}}})
    world.tell(U1, P1)
    assert world.tell(U1, P2, A1) == ["blocked", "linked"]
    assert world.is_one(U1, P1, A1)
    assert world.whose(P2) == [""]


def test_a_refusal_is_announced_once_until_something_changes() -> None:
    world = World()
    world.tell(U1, P1)
    world.tell(U2)
    assert [world.tell(U2, P1) for _ in range(3)] == [["conflict"], [], []]
    world.tell(D1)
    assert world.tell(U1, D1) == ["merged"]
    assert world.tell(U2, P1) == []
    older = World()
    older.tell(D1)
    older.tell(U1, P1)
    older.tell(U2, P1)
    older.tell(U1, D1)
    assert older.tell(U2, P1) == ["conflict"], "the customer is another now"


def test_a_kind_that_may_not_merge_identifies_only() -> None:
    world = World({"kinds": {"device_id": {"code": 7, "may_merge": False}}})
    world.tell(P1, D1)
    world.tell(MAIL)
    assert world.tell(MAIL, D1) == ["conflict"]
    assert world.tell(D1) == []
    assert world.events[-1][0] == world.whose(P1)[0]


def test_a_browser_key_joins_no_two_known_customers() -> None:
    world = World()
    world.tell(P1)
    world.tell(MAIL)
    assert world.tell(P1, MAIL, flags=2) == ["conflict"]
    assert world.last()["reason"].startswith("public_key")
    world.tell(A1)
    assert world.tell(P1, A1, flags=2) == ["merged"], "a visitor is nobody known"
    assert world.tell(P1, MAIL) == ["merged"], "a server may"


def test_a_customer_beyond_the_size_joins_nothing_more_until_released() -> None:
    world = World({"max_identifiers_per_customer": 3})
    world.tell(D1, A1, A2)
    assert world.tell(D1, "anonymous_id:a3") == ["quarantined", "blocked"]
    assert world.tell(D1, "anonymous_id:a3") == []
    assert world.tell(f"customer:{world.whose(D1)[0]}", kind="release") == ["released"]
    assert world.tell(D1, "anonymous_id:a3") == ["linked"]


def test_a_verified_newer_owner_takes_a_number_over() -> None:
    world = World()
    world.tell(U1, P1)
    world.tell(P1)
    assert world.tell(U2, P1, source="login", flags=8) == ["moved", "linked"]
    world.tell(P1)
    assert [customer for customer, _ in world.events[1::2]] == world.whose(U1, U2)
    assert world.events[1][1] != world.events[3][1], "a node of its own"
    assert world.tell(U1, P1, source="login", flags=8, days=29) == ["conflict"], "held for 30 days"
    assert world.tell(U1, P1, source="login", flags=8, days=2) == ["moved"]


def test_who_is_not_believed_takes_nothing_over() -> None:
    world = World()
    world.tell(U1, P1)
    assert "moved" not in world.tell(U2, P1, source="shop", flags=8)
    assert "moved" not in world.tell(U2, P1, source="login")
    assert "moved" not in world.tell(U2, P1, source="login", flags=8 | 1), "an import says nothing about now"
    assert world.is_one(U1, P1)


def test_former_and_new_owner_may_still_become_one() -> None:
    world = World()
    world.tell(U1, P1)
    world.tell(P1, D1)
    world.tell(U2, P1, source="login", flags=8)
    world.tell(P1)
    world.tell(U1, kind="unlink")
    assert world.tell(U2, D1) == ["merged"]
    (one,) = world.whose(U2)
    parts = world.profile.states()[one].parts
    assert len(parts) == 3, "the number's former node, its new one, and the user's"
    assert sum(part.events for part in parts.values()) == 4, "none lost, none twice"


def test_a_new_owner_who_is_erased_takes_the_number_along() -> None:
    world = World()
    world.tell(U1, P1)
    world.tell(U2, P1, source="login", flags=8)
    assert world.tell(P1, kind="erase") == ["erased"]
    assert world.tell(P1) == []
    assert world.whose(P1, U2) == ["", ""]
    assert world.whose(U1) != [""]


def test_first_seen_is_the_earlier_of_both() -> None:
    world = World()
    world.tell(A1, occurred=at(40))
    world.tell(U1, occurred=at(90))
    world.tell(A1, occurred=at(10))
    world.tell(U1, A1, occurred=at(5))
    (one,) = world.profile.states().values()
    seen = view(one.parts.values(), NOW_MS, CONFIG)
    assert (seen.first_ms, seen.last_ms) == (at(90), at(5))


def test_an_anonymous_id_that_was_long_unseen_begins_anew() -> None:
    world = World()
    world.tell(U1, A1)
    world.tell(A1, days=400)
    assert world.is_one(U1, A1), "400 days are not longer than 400"
    assert world.tell(A1, days=401) == ["expired", "linked"]
    assert not world.is_one(U1, A1)


def test_a_phone_is_an_attribute_at_a_source_that_says_so() -> None:
    world = World()
    world.tell(U1, P1)
    assert world.tell(U2, P1, source="call-centre") == ["linked"]
    assert not world.is_one(U1, U2)


def test_a_repeated_message_id_is_dropped_within_the_window() -> None:
    world = World()
    world.tell(U1, message="same")
    world.tell(U1, message="same")
    world.tell(U1, message="same", source="crm")
    assert len(world.events) == 2


def test_an_erased_identifier_stays_erased() -> None:
    world = World()
    world.tell(U1, P1)
    assert world.tell(U1, kind="erase") == ["erased"]
    assert world.tell(P1) == []
    world.tell(U2, P1)
    assert world.whose(P1, U1) == ["", ""]


def test_a_link_by_a_person_counts_as_no_event_and_the_guards_hold() -> None:
    world = World()
    world.tell(U1)
    world.tell(P1)
    words = b'{"author": "ann", "reason": "same card"}'
    assert world.tell(U1, P1, kind="link", properties=words) == ["merged", "linked"]
    assert world.last()["reason"] == "linked by ann: same card"
    assert len(world.events) == 2
    world.tell(U2)
    assert world.tell(U2, P1, kind="link") == ["conflict"]


def test_a_refusal_by_a_person_changes_nothing() -> None:
    world = World()
    world.tell(U1)
    world.tell(P1)
    assert world.tell(U1, P1, kind="refuse", properties=b'{"author": "ann"}') == ["refused"]
    assert not world.is_one(U1, P1)


def test_requests_by_a_person_need_a_key_that_names_them() -> None:
    assert Source("shop").types == STANDARD_TYPES
    assert not CONTROL_TYPES & STANDARD_TYPES
