"""Requests of persons, told from what they brought about: the same bytes go to the script again."""

import struct
from typing import Any

import pytest

from services.chassis.errors import Fatal
from services.identity.core.links import Request
from services.identity.rebuild.older import Told, links_of, request_of

CODES = {"user_id": 1, "phone": 4}
USER, PHONE, OTHER = (1, "aa" * 16), (4, "bb" * 16), (4, "cc" * 16)
CUSTOMER = "62626262-6262-6262-6262-626262626262"


def text(node: tuple[int, str]) -> str:
    return f"{'user_id' if node[0] == 1 else 'phone'}:{node[1]}"


def raw(node: tuple[int, str]) -> bytes:
    return bytes([node[0]]) + bytes.fromhex(node[1])


def told(what: str, *nodes: tuple[tuple[int, str], ...], **fields: Any) -> Told:
    kind = {"erased": "erase", "linked": "link", "refused": "refuse"}.get(what, "unlink")
    named = tuple(tuple(text(node) for node in some) for some in nodes)
    return Told(1, 0, 7, {"type": kind}, 0, CUSTOMER, 0, named, what, **fields)


def customer(*nodes: tuple[int, str], links: list[tuple[int, int]]) -> bytes:
    edges = b"".join(struct.pack(">HHH", a, b, 0) + bytes(6) for a, b in links)
    return struct.pack(">IQH", 3, 1, len(nodes)) + b"".join(map(raw, nodes)) + edges


def test_a_link_that_was_taken_back_is_named_by_its_two_identifiers() -> None:
    asked = told("unlinked", (USER, PHONE), (PHONE, OTHER))
    assert request_of(asked, CODES, None) == (Request.UNLINK, [raw(USER), raw(PHONE)])


def test_what_was_declined_is_asked_again_of_whom_it_was_asked() -> None:
    assert request_of(told("declined", (PHONE,), expected=CUSTOMER), CODES, None) == (
        Request.UNLINK, [raw(PHONE), b"\0" + b"b" * 16],
    )  # fmt: skip
    assert request_of(told("declined", (PHONE, USER)), CODES, None) == (Request.UNLINK, [raw(PHONE), raw(USER)])


def test_of_several_who_are_alone_the_hub_was_unlinked() -> None:
    asked = told("split", (PHONE,), (OTHER,))
    held = customer(USER, PHONE, OTHER, links=[(0, 2), (1, 2)])
    assert request_of(asked, CODES, held) == (Request.UNLINK, [raw(OTHER)])
    assert links_of(held) == [(raw(USER), raw(OTHER)), (raw(PHONE), raw(OTHER))]
    assert links_of(b"") == []


def test_a_split_that_leaves_nobody_alone_cannot_be_repeated() -> None:
    with pytest.raises(Fatal, match="leaves no identifier alone"):
        request_of(told("split", (PHONE, OTHER)), CODES, None)


@pytest.mark.parametrize(
    ("what", "request_"), [("erased", Request.ERASE), ("linked", Request.LINK), ("refused", Request.REFUSE)]
)
def test_other_requests_are_named_by_what_they_changed(what: str, request_: Request) -> None:
    named = [raw(USER)] if what == "erased" else [raw(USER), raw(PHONE)]
    assert request_of(told(what, (USER, PHONE)), CODES, None) == (request_, named)
