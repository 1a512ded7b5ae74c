"""The table of cases in services/identity/README.md, a test per row: what is said of a customer."""

import json

from services.ingest.core.source import Source
from services.profile.core.view import view
from tests.property.identity.case_world import A1, P1, U1, U2, World, from_sdk
from tests.unit.profile.profile_builders import CONFIG, NOW_MS, at


def test_a_group_identifies_nobody() -> None:
    message = {"type": "group", "user_id": "u1", "group_id": "g1", "traits": {"email": "desk@shop.cn", "name": "Gold"}}
    found = from_sdk(**message)
    assert found.identifiers == [U1], "neither the group's id nor its e-mail"
    assert (found.name, found.traits) == ("Group Joined", b"{}"), "a membership, and no trait of the person"
    assert json.loads(found.properties) == {"group_id": "g1", "traits": message["traits"]}


def test_first_seen_is_the_earlier_of_both() -> None:
    world = World()
    world.tell(A1, occurred=at(40))
    world.tell(U1, occurred=at(90))
    world.tell(A1, occurred=at(10))
    world.tell(U1, A1, occurred=at(5))
    (one,) = world.profile.states().values()
    seen = view(one.parts.values(), NOW_MS, CONFIG)
    assert (seen.first_ms, seen.last_ms) == (at(90), at(5))


def test_a_phone_is_an_attribute_at_a_source_that_says_so() -> None:
    world = World()
    world.tell(U1, P1)
    assert world.tell(U2, P1, source="call-centre", traits=b'{"phone": "+8613800138001"}') == ["linked"]
    assert not world.is_one(U1, U2)
    assert world.traits(U2) == {"phone": "+8613800138001"}, "the trait stays"
    call = {"type": "identify", "user_id": "u2", "traits": {"phone": "13800138001"}}
    found = from_sdk(Source("call-centre", phone_identifies=False), **call)
    assert (found.identifiers, json.loads(found.traits)) == ([U2], {"phone": "+8613800138001"}), "at ingest as well"
    assert from_sdk(**call).identifiers == [U2, P1]


def test_the_last_writer_of_a_field_by_event_time_counts_whatever_came_last() -> None:
    world = World()
    world.tell(A1, traits=b'{"city": "new", "level": "old"}', occurred=at(10))
    world.tell(U1, traits=b'{"level": "new"}', occurred=at(5))
    world.tell(A1, traits=b'{"city": "older"}', occurred=at(20))
    world.tell(U1, traits=b'{"city": "oldest"}', occurred=at(90))
    world.tell(A1, traits=b'{"city": "imported"}', occurred=at(30), flags=1)
    assert world.tell(U1, A1, occurred=at(1)) == ["merged"]
    assert world.traits(U1) == {"city": "new", "level": "new"}


def test_set_once_fills_what_nobody_has_ever_set() -> None:
    world = World()
    world.tell(A1, traits=b'{"$set_once": {"channel": "search", "city": "once"}}', occurred=at(5))
    world.tell(A1, traits=b'{"$set_once": {"channel": "poster"}}', occurred=at(9))
    world.tell(U1, traits=b'{"city": "stated"}', occurred=at(90))
    assert world.traits(A1) == {"channel": "poster", "city": "once"}, "the earliest by event time"
    world.tell(U1, A1)
    assert world.traits(U1) == {"channel": "poster", "city": "stated"}, "set by somebody who is the same one"


def test_unset_hides_a_field_until_it_is_set_again() -> None:
    world = World()
    world.tell(U1, traits=b'{"city": "x", "name": "Li"}', occurred=at(9))
    world.tell(A1, traits=b'{"$unset": ["city"]}', occurred=at(5))
    world.tell(U1, A1, traits=b'{"$set_once": {"city": "z"}}', occurred=at(4))
    assert world.traits(U1) == {"name": "Li"}, "an unset field counts as set"
    world.tell(U1, traits=b'{"city": "earlier"}', occurred=at(7))
    assert world.traits(U1) == {"name": "Li"}
    world.tell(U1, traits=b'{"city": "y"}', occurred=at(3))
    assert world.traits(U1) == {"name": "Li", "city": "y"}
