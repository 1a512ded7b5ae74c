"""Requests of persons, told from what they brought about: the same bytes go to the script again."""

import struct

import pytest

from services.chassis.errors import Fatal
from services.identity.core.links import Request
from services.identity.rebuild.requests import Renewed, Told, links_of, request_of, told_by

CODES = {"user_id": 1, "phone": 4}
USER, PHONE, OTHER = (1, "aa" * 16), (4, "bb" * 16), (4, "cc" * 16)
CUSTOMER = "62626262-6262-6262-6262-626262626262"


def text(node: tuple[int, str]) -> str:
    return f"{'user_id' if node[0] == 1 else 'phone'}:{node[1]}"


def raw(node: tuple[int, str]) -> bytes:
    return bytes([node[0]]) + bytes.fromhex(node[1])


NEVER = Renewed({}, {})


def told(what: str, *nodes: tuple[tuple[int, str], ...], other: str = "", g: int = 9, renewed: Renewed = NEVER) -> Told:
    """What the rows of one request say, one row for each group of nodes."""
    rows = [
        (1, 0, 7, what, CUSTOMER, other, [text(node) for node in some], "shop", "m1", 0, 0, 0, "", g) for some in nodes
    ]
    return told_by((1, 0, 7), rows, renewed)


def customer(*nodes: tuple[int, str], links: list[tuple[int, int]]) -> bytes:
    edges = b"".join(struct.pack(">HHH", a, b, 0) + bytes(6) for a, b in links)
    return struct.pack(">IQH", 3, 1, len(nodes)) + b"".join(map(raw, nodes)) + edges


def test_a_link_that_was_taken_back_is_named_by_its_two_identifiers() -> None:
    asked = told("unlinked", (USER, PHONE), (PHONE, OTHER))
    assert request_of(asked, CODES) == (Request.UNLINK, [raw(USER), raw(PHONE)])


def test_what_was_declined_is_asked_again_of_whom_it_was_asked() -> None:
    assert request_of(told("declined", (PHONE,), other=CUSTOMER), CODES) == (
        Request.UNLINK, [raw(PHONE), b"\0" + b"b" * 16],
    )  # fmt: skip
    assert request_of(told("declined", (PHONE, USER)), CODES) == (Request.UNLINK, [raw(PHONE), raw(USER)])


def test_of_several_who_are_alone_the_hub_was_unlinked() -> None:
    asked = told("split", (PHONE,), (OTHER,))
    held = customer(USER, PHONE, OTHER, links=[(0, 2), (1, 2)])
    links = {one: sum(one in pair for pair in links_of(held)) for one in (raw(PHONE), raw(OTHER))}
    assert request_of(asked, CODES, links.__getitem__) == (Request.UNLINK, [raw(OTHER)])
    assert links_of(held) == [(raw(USER), raw(OTHER)), (raw(PHONE), raw(OTHER))]
    assert links_of(b"") == []


def test_what_marks_a_former_node_is_no_link() -> None:
    held = customer(USER, PHONE, OTHER, links=[(0, 1), (0, 2), (1, 1), (1, 1)])
    assert links_of(held) == [(raw(USER), raw(PHONE)), (raw(USER), raw(OTHER))]


RENEWED = (4, "dd" * 16)
# At change 5 PHONE, whose node was PHONE, got another one.
TAKEN_OVER = Renewed({text(RENEWED): text(PHONE)}, {text(PHONE): 5})


@pytest.mark.parametrize("what", ["erased", "split"])
def test_a_former_node_does_not_name_what_another_customer_has_now(what: str) -> None:
    nodes = [(PHONE, USER)] if what == "erased" else [(PHONE,), (USER,)]
    assert request_of(told(what, *nodes, g=4, renewed=TAKEN_OVER), CODES)[1] == [raw(PHONE)]
    assert request_of(told(what, *nodes, g=6, renewed=TAKEN_OVER), CODES)[1] == [raw(USER)]
    with pytest.raises(Fatal, match="none of its nodes"):
        request_of(told(what, (PHONE,), renewed=TAKEN_OVER), CODES)


@pytest.mark.parametrize("what", ["unlinked", "linked", "refused", "erased", "split", "declined"])
def test_a_renewed_node_is_named_by_its_identifier(what: str) -> None:
    nodes = (RENEWED,) if what == "split" else (RENEWED, USER)
    named = [raw(PHONE)] if what in ("split", "erased") else [raw(PHONE), raw(USER)]
    assert request_of(told(what, nodes, renewed=TAKEN_OVER), CODES)[1] == named


def test_a_split_that_leaves_nobody_alone_cannot_be_repeated() -> None:
    with pytest.raises(Fatal, match="none of its nodes says which identifier was named"):
        request_of(told("split", (PHONE, OTHER)), CODES)


@pytest.mark.parametrize(
    ("what", "request_"), [("erased", Request.ERASE), ("linked", Request.LINK), ("refused", Request.REFUSE)]
)
def test_other_requests_are_named_by_what_they_changed(what: str, request_: Request) -> None:
    named = [raw(USER)] if what == "erased" else [raw(USER), raw(PHONE)]
    assert request_of(told(what, (USER, PHONE)), CODES) == (request_, named)
