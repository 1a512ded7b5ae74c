"""What a touchpoint asks of the graph, and what the graph's answer says."""

import json
import struct
from collections.abc import Sequence
from itertools import combinations

import msgpack
import pytest

from services.identity.core import decisions as d
from services.identity.core.links import MAX_IDENTIFIERS, POISON, Asked, Request, UnusableError, ask
from services.identity.core.policy import parse_policy

POLICY = parse_policy(
    {"kinds": {"user_id": {"code": 1}, "phone": {"code": 4, "blocked": ["+86"]}, "device_id": {"code": 7}}}
)
A, B = b"a" * 16, b"b" * 16
X, Y = b"\x01" + b"x" * 16, b"\x04" + b"y" * 16


def encode(identifier: str) -> bytes:
    return identifier.encode().ljust(17, b".")


def asked(
    identifiers: Sequence[str], kind: str = "track", source: str = "shop", event_id: str = "e1", properties: bytes = b""
) -> Asked:
    return ask(kind, source, event_id, identifiers, 2, POLICY, encode, properties)


def test_usable_identifiers_stay_in_their_order_once_each() -> None:
    found = asked(["user_id:1", "phone:2", "fax:3", "phone:+86", "phone:", "phone:2", "device_id:4"])
    assert found.identifiers == [encode("user_id:1"), encode("phone:2"), encode("device_id:4")]
    assert found.flags == 2


@pytest.mark.parametrize("identifiers", [[], ["fax:3"], ["phone:+86"], ["phone:"], ["no kind"], [""]])
def test_nobody_to_identify_is_unusable(identifiers: list[str]) -> None:
    with pytest.raises(UnusableError, match=f"none of its {len(identifiers)} identifiers"):
        asked(identifiers)


def test_more_identifiers_than_anybody_has_are_left_out() -> None:
    assert len(asked([f"device_id:{i}" for i in range(100)]).identifiers) == MAX_IDENTIFIERS


@pytest.mark.parametrize("kind", ["link", "refuse"])
def test_a_request_about_two_identifiers_names_two(kind: str) -> None:
    assert asked(["user_id:1", "phone:2"], kind).request is {"link": Request.LINK, "refuse": Request.REFUSE}[kind]
    for identifiers in (["user_id:1"], ["user_id:1", "user_id:1"], ["user_id:1", "fax:2"], ["user_id:1"] * 2 + ["a:"]):
        with pytest.raises(UnusableError, match=f"{kind} needs two identifiers that may identify a customer, got 1"):
            asked(identifiers, kind)
    with pytest.raises(UnusableError, match="got 3"):
        asked(["user_id:1", "phone:2", "device_id:3"], kind)


@pytest.mark.parametrize(
    ("kind", "request_"), [("track", Request.EVENT), ("alias", Request.EVENT), ("unlink", Request.UNLINK),
                           ("erase", Request.ERASE)]
)  # fmt: skip
def test_the_type_says_what_is_asked(kind: str, request_: Request) -> None:
    assert asked(["user_id:1"], kind).request is request_


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        (b"", [encode("phone:+86")]),
        (b"no JSON", [encode("phone:+86")]),
        (b'{"pair": false, "author": "ann"}', [encode("phone:+86")]),
        (b'{"pair": true}', [encode("phone:+86"), encode("user_id:1")]),
        (
            b'{"pair": true, "from": "62626262-6262-6262-6262-626262626262"}',
            [encode("phone:+86"), encode("user_id:1"), b"\0" + B],
        ),
    ],
)
def test_an_unlink_names_an_identifier_or_a_pair_and_perhaps_whose_it_is(properties: bytes, named: list[bytes]) -> None:
    found = asked(["fax:7", "phone:+86", "phone:+86", "user_id:1", "device_id:3"], "unlink", properties=properties)
    assert (found.request, found.identifiers) == (Request.UNLINK, named)


@pytest.mark.parametrize(
    ("identifiers", "properties", "text"),
    [
        (["fax:7"], b"", "expected 1 identifiers of known kinds, got 0"),
        (["phone:1", "phone:1"], b'{"pair": true}', "expected 2 identifiers of known kinds, got 1"),
        (["phone:1"], b'{"from": 7}', "expected a customer id, UUID text, got 1 characters that are none"),
    ],
)
def test_an_unlink_that_names_nothing_is_unusable(identifiers: list[str], properties: bytes, text: str) -> None:
    with pytest.raises(UnusableError, match=f"unlink: .*{text}"):
        asked(identifiers, "unlink", properties=properties)


SECRETS = ["phone:+8613912345678", "customer:phone:+8613912345678", "+8613912345678", "fax:13912345678", "phone:+86"]


@pytest.mark.parametrize("kind", ["track", "alias", "unlink", "erase", "link", "refuse", "release"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("more", [{}, {"pair": True}, {"from": "+8613912345678"}, {"pair": True, "from": "li@shop.cn"}])
def test_what_is_said_of_an_unusable_touchpoint_holds_none_of_its_values(
    kind: str, count: int, more: dict[str, object]
) -> None:
    told = []
    for given in combinations(SECRETS, count):
        try:
            asked(given, kind, properties=json.dumps(more).encode())
        except UnusableError as error:
            told.append(str(error))
    assert told, "at least one of these is unusable"
    assert not [text for text in told if any(secret in text for secret in ("139123", "+86", "li@shop"))]


def test_message_ids_count_per_source() -> None:
    same = asked(["user_id:1"]).message
    assert asked(["phone:2"], "page").message == same
    others = {asked(["user_id:1"], source="crm").message, asked(["user_id:1"], event_id="e2").message}
    assert len(others | {same}) == 3


def test_a_packed_request_is_what_the_script_reads() -> None:
    packed = asked(["user_id:1", "phone:2"]).pack(7, 1_750_000_000_123)
    rel, kind, flags, verified, log_ms, message, count = struct.unpack(">IBBIQ16sB", packed[:35])
    assert (rel, chr(kind), flags, verified, log_ms, count) == (7, "e", 2, 0, 1_750_000_000_123, 2)
    assert message == asked(["user_id:1"]).message
    assert packed[35:] == encode("user_id:1") + encode("phone:2")
    assert POISON.pack(0, 0)[4:5] == b"p"


GUARDED = parse_policy(
    {
        "kinds": {
            "user_id": {"code": 1}, "phone": {"code": 4}, "email": {"code": 5}, "openid": {"code": 6, "scope": "app"},
            "card": {"code": 9, "blocked_patterns": ["9+", "TEST-.*"]},
        },
        "blocked": ["Anonymous", 0],
        "sources": {"crm": {"attributes": ["phone"]}, "login": {"verified": ["phone", "email"]}},
    }
)  # fmt: skip


def coded(identifier: str) -> bytes:
    kind, _, value = identifier.partition(":")
    return bytes([GUARDED.kinds[kind].code]) + value.encode().ljust(16, b".")


def guarded(identifiers: Sequence[str], source: str = "shop", flags: int = 0, kind: str = "track") -> Asked:
    return ask(kind, source, "e1", identifiers, flags, GUARDED, coded)


def test_the_strongest_kind_comes_first_whatever_the_source_put_there() -> None:
    found = guarded(["card:1", "phone:2", "user_id:3", "phone:1"])
    assert found.identifiers == [coded(x) for x in ("user_id:3", "phone:2", "phone:1", "card:1")]


def test_blocked_values_and_patterns_and_values_without_their_scope_identify_nobody() -> None:
    bad = ["user_id:ANONYMOUS", "phone:0", "card:999", "card:TEST-1", "openid:abc", "openid:/abc", "openid:app/"]
    assert guarded([*bad, "card:9x", "openid:app/abc"]).identifiers == [coded("openid:app/abc"), coded("card:9x")]
    with pytest.raises(UnusableError, match="none of its 7 identifiers"):
        guarded(bad)


def test_an_attribute_links_nothing_at_the_source_that_says_so_only() -> None:
    assert guarded(["user_id:1", "phone:2"], "crm").identifiers == [coded("user_id:1")]
    assert len(guarded(["user_id:1", "phone:2"], "shop").identifiers) == 2
    with pytest.raises(UnusableError, match="an attribute of source crm"):
        guarded(["phone:2"], "crm")


def test_verified_counts_of_sources_that_are_believed_and_of_one_value_only() -> None:
    assert guarded(["phone:2", "user_id:1", "email:3"], "login", 8).verified == 0b010
    assert guarded(["phone:2", "user_id:1", "email:3"], "login", 8 | 16).verified == 0b110
    assert guarded(["phone:2", "phone:1"], "login", 8).verified == 0, "nothing says which of two is meant"
    assert guarded(["phone:2"], "shop", 8).verified == 0
    assert guarded(["phone:2", "user_id:1"], "login", 8, "link").verified == 0


def test_a_release_names_one_customer() -> None:
    found = guarded(["customer:98675452-d60c-50ae-aecb-ee989e5c3ce8"], kind="release")
    assert (found.request, found.identifiers[0].hex()) == (Request.RELEASE, "0098675452d60c50aeaecbee989e5c3ce8")
    for identifiers in (["user_id:1"], ["customer:x"], [], [f"customer:{'0' * 32}"] * 2):
        with pytest.raises(UnusableError, match="release: "):
            guarded(identifiers, kind="release")


def blob(events: list[tuple[int, bytes, int, bytes]], others: list[list[object]]) -> bytes:
    run = b"".join(struct.pack(">I16sI17s", *one) for one in events)
    return msgpack.packb([40, run, others], use_bin_type=False)


def test_decisions_come_in_the_order_of_the_touchpoints_an_event_last() -> None:
    position, acts = d.parse_decisions(
        blob(
            [(0, A, 1, X), (2, A, 4, Y)],
            [
                [0, "C", "linked", 1, A, "", -1, [X], ""],
                [1, "P"],
                [2, "G", B, 3, 0, A],
                [2, "T", A, 2, 0, B],
                [2, "C", "merged", 2, A, B, 0, [X, Y], ""],
                [3, "S", A, 5, [[0, B, [X]], [1, A, [Y, X]]]],
                [4, "X", A, 6, [X]],
                [5, "C", "conflict", 3, A, B, -1, [X, Y], "limit"],
            ],
        )
    )
    assert position == 40
    assert acts == [
        d.Change(0, "linked", 1, A, b"", -1, (X,), ""),
        d.Event(0, A, 1, X),
        d.Poisoned(1),
        d.Give(2, B, 3, (d.Piece(0, A),)),
        d.Take(2, A, 2, 0, B),
        d.Change(2, "merged", 2, A, B, 0, (X, Y), ""),
        d.Event(2, A, 4, Y),
        d.Give(3, A, 5, (d.Piece(0, B, (X,)), d.Piece(1, A, (Y, X)))),
        d.Erase(4, A, 6, (X,)),
        d.Change(5, "conflict", 3, A, B, -1, (X, Y), "limit"),
    ]


def test_a_merge_says_how_much_of_its_batchs_list_there_was() -> None:
    others = [[0, "C", "merged", 1, A, B, 0, [1, 2, 1], ""], [1, "C", "merged", 2, A, B, 0, [1, 3, 1], ""]]
    raw = msgpack.packb([40, b"", others, 7, 42, [X + Y + X]], use_bin_type=False)
    batch, acts = d.parse_batch(raw)
    assert batch == d.Batch(40, 42, 7)
    assert acts == [
        d.Change(0, "merged", 1, A, B, 0, (X, Y), "", 1),
        d.Change(1, "merged", 2, A, B, 0, (X, Y, X), "", 1),
    ]


def test_a_batch_may_decide_events_only_or_nothing_else() -> None:
    assert d.parse_decisions(blob([(0, A, 1, X)], [])) == (40, [d.Event(0, A, 1, X)])
    assert d.parse_decisions(msgpack.packb([7, b"", [[0, "P"]]])) == (7, [d.Poisoned(0)])


def test_decisions_name_their_batch_in_the_order_of_all_partitions() -> None:
    batch, acts = d.parse_batch(msgpack.packb([40, b"", [[0, "P"]], 7, 43]))
    assert (batch, acts) == (d.Batch(first=40, upto=43, number=7), [d.Poisoned(0)])
    assert d.parse_header(batch.header) == batch


def test_decisions_of_a_release_that_did_not_count_have_no_number() -> None:
    assert d.parse_batch(msgpack.packb([40, b"", [[0, "P"]]]))[0] == d.Batch(40, 40, 0)
