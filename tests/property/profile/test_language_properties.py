"""Arbitrary text is a condition or a mistake with a text, never anything else; measures miss no event that counts."""

import json

from hypothesis import given
from hypothesis import strategies as st

from services.profile.core.tagging.compile import holds
from services.profile.core.tagging.measures import measure_of
from services.profile.core.tagging.parse import MAX_LENGTH, ConditionError, parse_condition, parse_value
from services.profile.core.tagging.reasons import parse_reason
from services.profile.core.tagging.vocabulary import Counter, Words
from tests.property.profile.profile_naive import CALM, CONFIG

WORDS = Words({"shares": Counter("shares", ("Content Shared",))}, frozenset(["a"]))
TOKENS = [
    "orders", "(", ")", "60", "[", "]", ",", "and", "or", "not ", "in", "<", ">=", "==", "!=", "+", "-", "*", "/",
    "**", "1e9",
    "stage", '"loyal"', "r", "tag", '"a"', "trait", "days_since", "purchase", "percentile", "spend", "months_falling",
    "interactions", "lambda", ":=", ":", ".", "__class__", "f'{r}'", "#", "\n", "\0", "{", "}", "if", "else",
    "for x in",
    "\ud800", "姓名", "9" * 50, "0x", "None", "True", "\\", "'", "exists", "contains", "days_before", "event.",
]  # fmt: skip
texts = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(TOKENS), max_size=25).map("".join),
    st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join),
    st.builds(lambda token, n: (token * n)[:MAX_LENGTH], st.sampled_from(TOKENS), st.integers(0, 999)),
    st.builds(lambda token, n: ((token + " ") * n)[:900] + "r > 1", st.sampled_from(TOKENS), st.integers(0, 99)),
)
OTHERS = None


@given(texts)
@CALM
def test_any_text_is_a_condition_or_says_its_mistake(text):
    condition, mistake = tried(lambda: parse_condition(text, WORDS))
    # What was taken can be compiled: Python's own limits are further away than ours.
    assert mistake or callable(holds(condition, OTHERS))


@given(texts)
@CALM
def test_any_text_is_a_value_a_reason_and_a_where_or_says_its_mistake(text):
    readers = [
        lambda: parse_value(text, WORDS),
        lambda: parse_reason(text, WORDS, OTHERS, CONFIG.calendar),
        lambda: parse_reason("{" + text + "}", WORDS, OTHERS, CONFIG.calendar),
        lambda: measure_of(Counter("m", ("A",), text or "x"), CONFIG.calendar),
    ]
    for read in readers:
        tried(read)


def tried(read):
    """(what was read, "") or (None, its mistake)."""
    try:
        return read(), ""
    except ConditionError as error:
        mistake = str(error)
    assert mistake.startswith("column ")
    assert ", expected " in mistake
    return None, mistake


NAMES = ["coupon", "products", "discount", "name", "quantity", "姓名", "$x"]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 50), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "TEA", "Tea set", "7", " 8 ", "1e3", "inf", "2026-03-01", "2026-02-30", "绿茶", "ß"]),
)  # fmt: skip
payloads = st.dictionaries(
    st.sampled_from(NAMES),
    st.recursive(
        scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner)),
        max_leaves=8,
    ),
)  # fmt: skip
WHERES = [
    "", "exists(coupon)", 'name == "tea"', 'name != "tea"', 'contains(name, "tea")', "discount > 0", "quantity <= 7",
    "not exists(coupon)", 'name not in ["tea", 7]', 'products.name == "TEA"', "姓名 == '绿茶'", "coupon == true",
    "days_before(name) >= 0", 'event.coupon == "TEA"', 'exists(coupon) and not name == "tea" or quantity == 7',
]  # fmt: skip
counters = st.builds(
    lambda where, each, total: Counter("m", ("A",), where, each, total),
    st.sampled_from(WHERES), st.sampled_from(["", "products"]), st.sampled_from(["", "quantity"]),
).filter(lambda counter: counter.is_measure)  # fmt: skip


@given(counters, payloads, st.integers(20_000, 21_000))
@CALM
def test_an_event_that_counts_is_never_passed_over(counter, payload, day):
    measure = measure_of(counter, CONFIG.calendar)
    amount = measure.of(payload, day)
    assert isinstance(amount, int)
    assert 0 <= amount <= 1_000_000_000
    if amount:
        for raw in (json.dumps(payload), json.dumps(payload, ensure_ascii=False, separators=(",", ":"))):
            assert measure.may_add(raw.encode())


def test_a_name_that_is_written_with_escapes_is_not_passed_over():
    measure = measure_of(Counter("m", ("A",), "exists(coupon)"), CONFIG.calendar)
    raw = b'{"\\u0063oupon":"A"}'
    assert measure.of(json.loads(raw), 20_000) == 1
    assert measure.may_add(raw)
    assert not measure.may_add(b'{"price":3}')
