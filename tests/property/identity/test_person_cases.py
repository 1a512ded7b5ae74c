"""The table of cases in services/identity/README.md, a test per row: what people ask for."""

import json

import pytest

from services.ingest.core.envelope import Message
from services.ingest.core.model import Arrival, Refused
from services.ingest.core.source import CONTROL_TYPES, STANDARD_TYPES, Source
from services.ingest.core.touchpoint import decide
from tests.property.identity.case_world import A1, A2, D1, MAIL, P1, PAIR, U1, U2, World, from_sdk


def test_an_unlink_takes_all_links_of_an_identifier_back_and_the_oldest_other_side_keeps_the_customer() -> None:
    for first in (D1, P1):  # whether the identifier is the oldest of its customer or not
        world = World()
        world.tell(first)
        (kept,) = world.whose(first)
        world.tell(P1, D1)
        world.tell(A1, A2)
        world.tell(P1, A1)
        assert world.is_one(D1, P1, A1, A2)
        assert world.tell(P1, kind="unlink") == ["split", "split"]
        assert world.whose(D1) == [kept]
        assert world.is_one(A1, A2), "a side keeps its own links"
        assert len({kept, *world.whose(P1), *world.whose(A1)}) == 3
        assert world.tell(P1, kind="unlink") == [], "there is none left"


def test_an_unlink_of_a_pair_takes_that_link_back_only() -> None:
    world = World()
    world.tell(D1)
    (kept,) = world.whose(D1)
    world.tell(P1, D1)
    world.tell(P1, A1)
    assert world.tell(D1, A1, kind="unlink", properties=PAIR) == ["declined"], "these two were never linked"
    assert world.last()["reason"].startswith("no_link")
    assert world.whose(D1, P1, A1) == [kept] * 3
    world.tell(A1, D1)
    assert world.tell(P1, D1, kind="unlink", properties=PAIR) == ["unlinked"], "they are linked another way"
    assert world.is_one(D1, P1, A1)
    assert world.tell(A1, D1, kind="unlink", properties=PAIR) == ["unlinked", "split"]
    assert world.whose(D1) == [kept], "the side of the oldest"
    assert world.is_one(P1, A1)
    assert world.whose(P1) != [kept]


def test_an_unlink_from_a_customer_who_does_not_have_it_says_whose_it_is() -> None:
    world = World()
    world.tell(U1, P1)
    world.tell(U2)
    mine, other = world.whose(P1, U2)
    asked = json.dumps({"from": other}).encode()
    assert world.tell(P1, kind="unlink", properties=asked) == ["declined"]
    assert world.last()["reason"].startswith("other_customer")
    assert (world.last()["customer_id"], world.last()["from_id"]) == (mine, other)
    assert world.is_one(U1, P1)
    assert world.tell(P1, kind="unlink", properties=json.dumps({"from": mine}).encode()) == ["split"]


def test_a_link_by_a_person_counts_as_no_event_and_the_guards_hold() -> None:
    world = World()
    world.tell(U1)
    world.tell(P1)
    words = b'{"author": "ann", "reason": "same card"}'
    assert world.tell(U1, P1, kind="link", properties=words) == ["merged", "linked"]
    assert world.last()["reason"] == "linked by ann: same card"
    assert len(world.events) == 2
    world.tell(U2)
    assert world.tell(U2, P1, kind="link", properties=words) == ["conflict"]
    assert world.last()["reason"].startswith("unique user_id")
    assert world.last()["reason"].endswith("linked by ann: same card"), "who asked, and why"
    assert world.tell(U1, P1, kind="link", properties=words) == ["linked"], "told although they are one"


def test_an_unlink_of_a_blocked_value_parts_what_it_joined() -> None:
    world = World()
    world.tell(U1, MAIL)
    world.obey({"blocked": ["a@b.cn"]})
    assert world.tell(MAIL) == []
    assert len(world.dead) == 1, "blocked by now"
    assert world.tell(MAIL, kind="unlink") == ["split"]
    assert not world.is_one(U1, MAIL)


def test_a_refusal_by_a_person_changes_nothing() -> None:
    world = World()
    world.tell(U1)
    world.tell(P1)
    assert world.tell(U1, P1, kind="refuse", properties=b'{"author": "ann"}') == ["refused"]
    assert not world.is_one(U1, P1)


@pytest.mark.parametrize("kind", sorted(CONTROL_TYPES))
def test_requests_by_a_person_need_a_key_that_names_them(kind: str) -> None:
    message = {"type": kind, "user_id": "u1", "anonymous_id": "a1"}
    refused = decide(Message(**message), Arrival(Source("shop"), 1), lambda: "m")
    assert isinstance(refused, Refused)
    assert [problem.code for problem in refused.problems] == ["type_not_allowed"]
    others = Source("shop", types=STANDARD_TYPES | (CONTROL_TYPES - {kind}))
    assert isinstance(decide(Message(**message), Arrival(others, 1), lambda: "m"), Refused), "each by its own name"
    found = from_sdk(Source("shop", types=STANDARD_TYPES | {kind}), **message)
    assert (found.type, found.identifiers) == (kind, [U1, A1])
