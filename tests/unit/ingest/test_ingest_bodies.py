"""Bodies: gzip or plain, batches, arrays and lines, keys, limits."""

import gzip
import json

import pytest

from services.ingest.core.compression import BrokenError, TooLargeError, unpack
from services.ingest.core.envelope import Body, mend_surrogates, split_batch, split_import
from services.ingest.core.keys import Grant, Keyring, key_digest, key_of_header
from services.ingest.core.limits import Bucket, Budget
from services.ingest.core.problems import Problem
from services.ingest.core.source import Source
from services.ingest.requests import mask_address

EVENTS = [b'{"type":"page"}', b"7", b'{"a":[1, 2]}']


def events(body: Body | Problem) -> list[bytes]:
    assert isinstance(body, Body), body
    return body.events


def test_a_batch_gives_its_events_as_they_came() -> None:
    body = split_batch(b'{"sentAt":"x","writeKey":"k","context":{"a":1},"batch":[' + b", ".join(EVENTS) + b"]}")
    assert body == Body(EVENTS, "x", {"a": 1}, "k")


@pytest.mark.parametrize("raw", [b'{"batch":[]}', b"[]"])
def test_an_empty_batch_has_no_events(raw: bytes) -> None:
    assert events(split_import(raw)) == []


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b",\n".join(EVENTS) + b"]",
        b' {"batch": [' + b",".join(EVENTS) + b"]}",
        b'{\n"batch": [\n' + b",\n".join(EVENTS) + b"]}",
    ],
)
def test_an_import_is_an_array_or_a_batch(raw: bytes) -> None:
    assert events(split_import(raw)) == EVENTS


def test_an_import_is_json_lines_with_blank_lines_and_windows_ends() -> None:
    assert events(split_import(b'{"a":1}\r\n\n{"b":2}\n')) == [b'{"a":1}', b'{"b":2}']
    assert events(split_import(b'{"type":"page"}\n')) == [b'{"type":"page"}\n']


def test_a_broken_line_does_not_spoil_the_others() -> None:
    assert events(split_import(b'{"a":1}\n{broken\n{"b":2}')) == [b'{"a":1}', b"{broken", b'{"b":2}']
    assert events(split_import(b'{broken\n{"b":2}')) == [b"{broken", b'{"b":2}']


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"batch": 5}', b'{"batch":[1}', b"5"])
def test_bodies_that_cannot_be_taken_apart_are_problems(raw: bytes) -> None:
    assert isinstance(split_batch(raw), Problem)
    assert isinstance(split_import(raw), Problem)


def test_a_batch_without_array_names_the_field() -> None:
    problem = split_batch(b'{"events":[]}')
    assert isinstance(problem, Problem)
    assert (problem.code, problem.field) == ("batch_missing", "batch")


def test_only_lone_surrogates_are_mended() -> None:
    assert mend_surrogates(rb"\ud83d\ude00 \ud83dx \\ud83d \ude00") == rb"\ud83d\ude00 \ufffdx \\ud83d \ufffd"


def test_gzip_is_known_by_its_first_bytes() -> None:
    packed = gzip.compress(b"hello") + gzip.compress(b" world")
    assert unpack(packed, 100) == b"hello world"
    assert unpack(b"hello", 5) == b"hello"


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    with pytest.raises(TooLargeError):
        unpack(bomb, 1_000)
    with pytest.raises(TooLargeError):
        unpack(gzip.compress(b"x") * 50, 10)
    with pytest.raises(TooLargeError):
        unpack(b"x" * 11, 10)


def test_exactly_the_limit_is_allowed() -> None:
    assert len(unpack(gzip.compress(b"x" * 10), 10)) == 10


@pytest.mark.parametrize("cut", [3, 12, 20])
def test_half_a_gzip_stream_is_broken(cut: int) -> None:
    with pytest.raises(BrokenError):
        unpack(gzip.compress(json.dumps(list(range(100))).encode())[:cut], 10_000)


def test_keys_are_found_by_digest_until_they_expire() -> None:
    source = Source("shop")
    keys = Keyring({key_digest("k"): Grant(source, expires_at=100)})
    assert keys.source_of("k", 99) is source
    assert keys.source_of("k", 100) is None
    assert keys.source_of("other", 0) is None
    assert [keys.source_of(value, 0) for value in (None, "", 5, "x" * 300, {})] == [None] * 5


@pytest.mark.parametrize(
    ("header", "key"),
    [("Basic bG9jYWw6", "local"), ("basic bG9jYWw6cGFzcw==", "local"), ("Bearer local", "local"), ("", None),
     ("Basic ???", ""), ("Basic //8=", ""), ("Digest x", "")],
)  # fmt: skip
def test_the_key_of_a_header(header: str, key: str | None) -> None:
    assert key_of_header(header) == key


def test_a_budget_refuses_what_does_not_fit_and_takes_it_when_there_is_room() -> None:
    budget = Budget(100)
    assert budget.take(60)
    assert not budget.take(41)
    budget.give_back(60)
    assert budget.take(500)
    assert not budget.take(1)


def test_a_bucket_refills_with_time_and_says_how_long_to_wait() -> None:
    bucket = Bucket(per_s=10, burst=20, tokens=20, at_ms=0)
    assert bucket.take(20, 0) == 0
    assert bucket.take(5, 100) == 401
    assert bucket.take(5, 501) == 0
    assert bucket.take(5, 0) > 0


def test_a_request_above_the_burst_passes_a_full_bucket_and_leaves_a_debt() -> None:
    bucket = Bucket(per_s=10, burst=20, tokens=20, at_ms=0)
    assert bucket.take(120, 0) == 0
    assert bucket.take(1, 5_000) > 0
    assert bucket.take(1, 10_200) == 0


def test_addresses_lose_their_host_part() -> None:
    assert mask_address("203.0.113.77") == "203.0.113.0"
    assert mask_address("2001:db8:1:2:3::4") == "2001:db8:1::"
    assert mask_address("unix") == ""
