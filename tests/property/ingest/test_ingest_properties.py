"""Whatever a client sends: a verdict, never an exception; the same bytes for the same input; standard values stay."""

import gzip
import json
from typing import Any

import msgspec
import phonenumbers
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.avro import Codec
from services.ingest.core.compression import BrokenError, TooLargeError, unpack
from services.ingest.core.envelope import Body, encode_json, mend_surrogates, split_batch, split_import
from services.ingest.core.mail import standardise_email
from services.ingest.core.model import Accepted, Arrival, Refused
from services.ingest.core.money import parse_amount, to_minor
from services.ingest.core.phone import standardise_phone
from services.ingest.core.problems import CODES, REFUSALS
from services.ingest.core.source import FieldRules, Source
from services.ingest.core.times import parse_time
from services.ingest.core.touchpoint import judge

NOW = 1_795_312_800_000
SOURCE = Source("s", app_id="wx", corp_id="ww", rules=FieldRules({"*": ("properties.a|traits.b.c",)}))
LENIENT = Source("s", app_id="wx", corp_id="ww")

# JSON can write half a character ("\ud800"), which Python reads as a lone surrogate.
texts = st.text(max_size=30) | st.text(st.characters(), max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=5,
)
ids = st.sampled_from(["u1", "null", 0, 42, "", " x ", "00000000-0000-0000-0000-000000000000", [], True]) | texts
phones = st.from_regex(r"\+?(86)?1[3-9]\d{9}", fullmatch=True) | st.text("0123456789+- ()", max_size=16)
emails = st.from_regex(r"[a-zA-Z0-9._'-]{1,10}@[a-zA-Z0-9.-]{1,12}\.[a-z]{2,3}", fullmatch=True) | st.text(max_size=20)
times = (
    st.sampled_from(["2026-11-22T02:00:00Z", "2026-11-22", "x", -1, 1e12, 1_795_312_800])
    | st.integers()
    | st.text(max_size=25)
)
traits = st.fixed_dictionaries(
    {},
    optional={
        "phone": phones | json_values, "email": emails | json_values,
        "openid": ids, "unionid": ids, "external_userid": ids,
        "city": st.sampled_from(["深圳", "北京市", "x", 5]), "province": st.sampled_from(["广东", "44", None]),
        "address": json_values, "id_card": st.text("0123456789Xx", max_size=18) | json_values, "name": json_values,
    },
)  # fmt: skip
properties = st.fixed_dictionaries(
    {},
    optional={
        "total": st.decimals(allow_nan=False, allow_infinity=False).map(str) | json_values,
        "currency": st.sampled_from(["CNY", "rmb", "JPY", "?"]) | json_values, "order_id": ids, "a": json_values,
    },
)  # fmt: skip
messages = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["track", "identify", "page", "screen", "group", "alias", "erase", "x"]) | json_values,
        "event": st.sampled_from(["Order Completed", "Order Refunded", "X", ""]) | json_values,
        "userId": ids, "anonymousId": ids, "previousId": ids, "messageId": ids, "groupId": json_values,
        "timestamp": times | json_values, "originalTimestamp": times, "sentAt": times | json_values,
        "properties": properties | json_values, "traits": traits | json_values,
        "context": st.fixed_dictionaries(
            {}, optional={"traits": traits | json_values, "device": st.dictionaries(st.just("id"), ids) | json_values,
                          "externalIds": st.lists(json_values, max_size=3) | json_values}
        ) | json_values,
        "integrations": json_values, "name": json_values, "category": json_values,
    },
)  # fmt: skip


def decide(raw: bytes, source: Source = SOURCE, is_import: bool = False) -> Accepted | Refused:
    arrival = Arrival(source, NOW, "", is_import, "2026-11-22T02:00:01Z", {"ip": "1"})
    return judge(raw, arrival, lambda: "new-id")


@given(messages | json_values, st.booleans())
def test_any_json_gets_a_verdict_with_known_codes(message: Any, is_import: bool) -> None:
    verdict = decide(json.dumps(message).encode(), is_import=is_import)
    if isinstance(verdict, Refused):
        assert verdict.problems
        assert {problem.code for problem in verdict.problems} <= CODES.keys()
        assert verdict.problems[0].code in REFUSALS
    else:
        assert verdict.touchpoint.identifiers
        assert not {problem.code for problem in verdict.remarks} & REFUSALS.keys()


@given(st.binary(max_size=200))
def test_any_bytes_get_a_verdict(raw: bytes) -> None:
    assert isinstance(decide(raw), Accepted | Refused)
    for body in (split_batch(raw), split_import(raw)):
        for event in body.events if isinstance(body, Body) else []:
            decide(event)


@given(messages)
def test_the_same_input_gives_the_same_bytes(message: Any) -> None:
    raw = json.dumps(message).encode()
    first, second = decide(raw, LENIENT), decide(raw, LENIENT)
    assert first == second
    if isinstance(first, Accepted):
        codec = Codec("touchpoint")
        value = codec.encode(msgspec.structs.asdict(first.touchpoint))
        assert codec.decode(value) == msgspec.structs.asdict(first.touchpoint)
        for part in (first.touchpoint.properties, first.touchpoint.traits, first.touchpoint.context):
            assert isinstance(msgspec.json.decode(part), dict)


@given(traits)
def test_standardising_twice_changes_nothing(stated: dict[str, Any]) -> None:
    def standardise(values: Any) -> Any:
        verdict = decide(json.dumps({"type": "identify", "userId": "u1", "traits": values}).encode(), LENIENT)
        assert isinstance(verdict, Accepted)
        return verdict.touchpoint

    once = standardise(stated)
    twice = standardise(json.loads(once.traits))
    assert twice.traits == once.traits
    assert twice.identifiers == once.identifiers
    assert twice.originals == b"{}"


@given(phones)
def test_the_shortcut_for_phones_agrees_with_the_library(text: str) -> None:
    found = standardise_phone(text, "CN")
    try:
        number = phonenumbers.parse(text, "CN")
    except phonenumbers.NumberParseException:
        assert found is None
        return
    assert (found is not None) == phonenumbers.is_valid_number(number)
    if found:
        assert found.e164 == phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        assert standardise_phone(found.e164, "CN") == found


@given(emails)
def test_the_shortcut_for_emails_agrees_with_the_library(text: str) -> None:
    try:
        expected = validate_email(text, check_deliverability=False, strict=True).normalized
    except EmailNotValidError:
        expected = None
    # The library takes U+FFFD for a letter like any other.
    assert standardise_email(text) == (None if "\ufffd" in text else expected)


@given(st.decimals(min_value=0, max_value=10**12, places=2))
def test_minor_units_of_two_digits_are_the_amount_times_a_hundred(value: Any) -> None:
    amount = parse_amount(str(value))
    assert amount is not None
    assert to_minor(amount, "CNY") == int(value * 100)


@given(st.text(max_size=30) | st.integers())
def test_times_never_raise(value: object) -> None:
    assert parse_time(value) is None or isinstance(parse_time(value), int)


@given(json_values)
def test_mending_leaves_whole_json_alone(value: Any) -> None:
    raw = json.dumps(value).encode()
    assert mend_surrogates(raw) == raw
    assert json.loads(encode_json(value)) == value


@given(st.binary(max_size=300), st.integers(0, 300))
def test_unpacking_never_makes_more_than_the_limit(raw: bytes, limit: int) -> None:
    for body in (raw, gzip.compress(raw), gzip.compress(raw)[:-3], b"\x1f\x8b" + raw):
        try:
            assert len(unpack(body, limit)) <= limit
        except (TooLargeError, BrokenError):
            continue
