"""The table of cases in services/identity/README.md, a test per row: what events do."""

import re

import pytest
import yaml

from services.identity import metrics
from services.identity.core.policy import parse_policy
from services.ingest.core.source import Source
from tests.property.identity.case_world import A1, A2, D1, MAIL, P1, P2, REPO, U1, U2, World, counted, from_sdk


def test_an_event_links_all_its_identifiers() -> None:
    world = World()
    assert world.tell(A1, U1, P1) == ["linked"]
    assert world.is_one(U1, P1, A1)
    assert world.events[0][1].startswith("user_id:"), "the strongest leads"


def test_two_customers_in_one_event_become_one_and_the_older_survives() -> None:
    world = World()
    world.tell(A1)
    world.tell(U1)
    older, younger = world.whose(A1, U1)
    assert world.tell(U1, A1) == ["merged"]
    assert world.whose(U1, A1) == [older, older]
    assert world.log[2:] == [(younger, "give"), (older, "take"), (older, "event")]


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
    ids = from_sdk(type="alias", user_id="u1", previous_id="a1").identifiers
    assert ids == [U1, A1]
    assert world.tell(*ids, kind="alias") == ["linked"]
    assert world.is_one(U1, A1)
    shop = Source("shop", user_id_pattern=re.compile("u[0-9]+"))
    assert from_sdk(shop, type="alias", user_id="u2", previous_id="u1").identifiers == [U2, U1]
    assert from_sdk(shop, type="alias", user_id="u2", previous_id="a1").identifiers == [U2, A1]


def test_an_alias_of_two_user_ids_is_a_conflict() -> None:
    world = World()
    world.tell(U1)
    world.tell(U2)
    assert world.tell(U2, U1, kind="alias") == ["conflict"]
    assert not world.is_one(U1, U2)


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


@pytest.mark.parametrize(
    "value",
    ["user_id:null", "user_id:Undefined", "anonymous_id:0", "device_id:anonymous", "email:till@shop.cn",
     "email:x@y.test", "fax:7"],
)  # fmt: skip
def test_a_placeholder_identifies_nobody(value: str) -> None:
    world = World(
        {"kinds": {"email": {"code": 5, "blocked": ["till@shop.cn"], "blocked_patterns": [r".*@.*\.test"]}}},
    )
    world.tell(A1, value)
    world.tell(D1, value)
    if not value.startswith("fax:"):  # a kind nobody knows cannot even be asked for
        assert world.whose(value) == [""]
    assert not world.is_one(A1, D1)
    assert world.dead == []
    assert world.tell(value) == []
    assert len(world.events) == 2
    (error,) = world.dead
    assert error.startswith("none of its 1 identifiers may identify a customer")


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


def test_a_refusal_is_counted_and_forgotten_after_so_many_others() -> None:
    shipped = parse_policy(yaml.safe_load((REPO / "deploy/config/identity.yaml").read_text(encoding="utf-8")))
    assert shipped.said_most == 50_000
    world = World({"remembered_refusals": 2})
    world.tell(U1, P1)
    users = [f"user_id:v{i}" for i in range(5)]
    for user in users:
        world.tell(user)
    first, *others = users
    assert world.tell(first, P1) == ["conflict"]
    before = counted(metrics.UNTOLD)
    assert world.tell(first, P1) == []
    assert counted(metrics.UNTOLD) == before + 1
    again = []
    for user in others:
        world.say(user, P1)
        again.append(world.tell(first, P1).count("conflict") - 1)
    assert again == [0, 0, 1, 0], "forgotten after two to four others, then told once more"


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


def test_of_two_customers_too_large_together_the_larger_is_quarantined() -> None:
    for order in ((D1, MAIL), (MAIL, D1)):
        world = World({"max_identifiers_per_customer": 3})
        world.tell(MAIL, P1)
        world.tell(D1, A1, A2)
        smaller, larger = world.whose(MAIL, D1)
        assert world.tell(*order) == ["quarantined", "conflict"]
        assert [c["customer_id"] for c in world.changes if c["kind"] == "quarantined"] == [larger]
        assert world.tell(MAIL, P2) == ["linked"], "the smaller one still grows"
        assert world.whose(MAIL, P2, D1) == [smaller, smaller, larger]
        world.tell("device_id:d9")
        assert world.tell("device_id:d9", A1) == ["conflict"], "joins nothing more"


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


def test_an_anonymous_id_that_was_long_unseen_begins_anew() -> None:
    world = World()
    world.tell(U1, A1)
    world.tell(A1, days=400)
    assert world.is_one(U1, A1), "400 days are not longer than 400"
    assert world.tell(A1, days=401) == ["expired", "linked"]
    assert not world.is_one(U1, A1)
    assert [customer for customer, _ in world.events] == [*world.whose(U1, U1), *world.whose(A1)], "what was stays"
    assert world.events[1][1] != world.events[2][1], "a node of its own"


def test_a_repeated_message_id_is_dropped_within_the_window() -> None:
    world = World()
    before = counted(metrics.DUPLICATES)
    world.tell(U1, message="same")
    world.tell(U1, message="same")
    assert (len(world.events), counted(metrics.DUPLICATES)) == (1, before + 1)
    world.tell(U1, message="same", source="crm")
    assert len(world.events) == 2, "another source numbers its own"
    world.tell(U1, message="same", days=2)
    assert len(world.events) == 3, "the window is a day"


def test_an_erased_identifier_stays_erased() -> None:
    world = World()
    world.tell(U1, P1)
    (gone,) = world.whose(U1)
    assert world.tell(U1, kind="erase") == ["erased"]
    assert world.log == [(gone, "event"), (gone, "erase")], "its log ends"
    before = counted(metrics.ERASED)
    assert world.tell(P1) == []
    assert (len(world.events), counted(metrics.ERASED)) == (1, before + 1), "dropped and counted"
    world.tell(U2, P1)
    assert world.whose(P1, U1) == ["", ""]
    assert gone not in world.profile.states() or not world.profile.states()[gone].parts
    assert [kind for customer, kind in world.log if customer == gone] == ["event", "erase"]
