"""What a person can write wrongly in tags.yaml: where it is, what was found, what was expected, and a near word."""

import re

import pytest

from services.profile.core.tagging.definitions import DefinitionsError, parse_catalogue
from services.profile.core.tagging.parse import MAX_DEPTH, MAX_LENGTH, ConditionError, parse_condition
from services.profile.core.tagging.vocabulary import Words
from tests.unit.profile.profile_builders import CONFIG, SHIPPED


def mistakes(**sections):
    """The lines that the shipped file with these sections gets; [] when it is right."""
    try:
        parse_catalogue(SHIPPED | {"tags": {}, "segments": {}} | sections, CONFIG.calendar)
    except DefinitionsError as error:
        first, *lines = str(error).split("\n  ")
        assert first == "tags.yaml is wrong:"
        return lines
    return []


def mistake_of(condition):
    """The only mistake of a tag with this condition, without its key."""
    (line,) = mistakes(tags={"own": {"if": condition}})
    assert line.startswith("tags.own.if: column ")
    return line.removeprefix("tags.own.if: ")


@pytest.mark.parametrize(("condition", "parts"), [
    ("oders(60) >= 2", ["column 1", "the word oders()", "did you mean orders?"]),
    ("orders(60) >= 2 and shares(90) > nterest", ["column 34", "the word nterest", "one of"]),
    ("orders >= 2", ["column 1", "orders without days", "orders(60)", "orders() for ever"]),
    ("orders(0) >= 2", ["column 1", "0 days", "1 to 365"]),
    ("orders(366) >= 2", ["366 days", "1 to 365"]),
    ("orders(-3) >= 2", ["-3 days", "1 to 365"]),
    ("orders(1.5) >= 2", ["1.5 days", "1 to 365"]),
    ('orders("60") >= 2', ["'60' days", "1 to 365"]),
    ("orders(60, 30) >= 2", ["orders(60, 30)", "1 to 365"]),
    ("orders(days=60) >= 2", ["orders(days=60)", "1 to 365"]),
    ('orders(60) >= "2"', ["the text '2'", "a number"]),
    ('"2" <= orders(60)', ["the text '2'", "a number"]),
    ('orders(60) in [1, "2"]', ["the text '2'", "a number"]),
    ('trait("city") + 1 > 2', ["in a calculation", "a number"]),
    ('trait("city") > "a"', ["a text behind >", "== or !="]),
    ('trait("城市") == "北京" and wrong > 1', ["column 25", "the word wrong"]),
    ("trait(city) == 1", ["column 7", "the word city"]),
    ('trait("on")', ["column 1", "`trait('on')`", "what it is to be: trait('on') == true, has_trait('on')"]),
    ('trait("on") == True', ["column 16", "`True`", "true in small letters"]),
    ('trait("on") == yes', ["column 16", "the word yes"]),
    ('trait("on") > true', ["true or false behind >", "== or !="]),
    ('trait("on") + true > 1', ["in a calculation", "a number"]), ("orders() == true", ["true", "a number"]),
    ("orders() in [1, false]", ["false", "a number"]), ("orders(true) > 1", ["True days", "1 to 365"]),
    ("stage == false", ["stage False", "one of prospect"]), ('trait("on") == -true', ["-true", "a number, a text"]),
    ('orders() in trait("on")', ["column 1", "`orders()`", "a number, true, false or a text in quotes"]),
    ('"a" in orders()', ["`orders()`", 'trait("name") behind in']), ("true == false", ["two constants"]),
    ("true", ["`true`", "something true or false"]),
    ("has_trait() and orders() > 1", ["has_trait()", "in quotes"]),
    ('stage == "loyl"', ["stage 'loyl'", "did you mean loyal?", "one of prospect, first_purchase"]),
    ("stage == 3", ["stage 3", "one of prospect"]),
    ('stage in ["loyal", "gone"]', ["stage 'gone'", "one of prospect"]),
    ("stage > r", ["stage > r", 'stage == "loyal"']),
    ('stage > "loyal"', ["a text behind >", "== or !="]),
    ('stage == trait("wanted")', ['stage == "loyal"']),
    ('tag("at_rsk")', ["tag 'at_rsk'", "one of"]),
    ('tag("segment:win_back")', ["tag 'segment:win_back'", "one of"]),
    ("days_since(purchas) > 3", ["column 12", "the moment purchas", "did you mean purchase?", "one of activity"]),
    ("days_since() > 3", ["days_since()", "days_since(purchase)"]),
    ("days_since(3) > 3", ["column 12", "3", "the name of an event in quotes"]),
    ("percentile(spending) > 3", ["percentile(spending)", "one of spend, composite, order_value"]),
    ("months_falling(spend) > 3", ["months_falling(spend)", "months_falling(interactions)"]),
    ("months_falling(interactions, 3) > 3", ["months_falling(interactions)"]),
    ("after(purchase)", ["after(purchase)", "two moments"]),
    ("after(purchase, nothing)", ["the moment nothing", "one of activity"]),
    ("orders(60)", ["`orders(60)`", "something true or false"]),
    ("orders(60) and 1", ["`orders(60)`", "something true or false"]),
    ("1 < 2", ["two constants", "a value of the customer"]),
    ("orders() in 3", ["`3`", "behind in"]),
    ("orders() in []", ["`[]`", "behind in"]),
    ("orders() is 3", ["this comparison", "< <= > >= == != in"]),
    ("orders() >= 2 and", ["column 18", "invalid syntax", "a condition such as orders(60) >= 2"]),
    ("orders() => 2", ["column 10", "invalid syntax"]),
    ("orders() = 2", ["a condition such as orders(60) >= 2"]),
    ("orders() >= 2 # twice", ["column 15", "a comment"]),
    ("orders() >= 2 # twice\nand orders() < 3", ["column 15", "a comment"]),
    ("orders() > 1e999", ["column 12", "a number beyond all bounds", "at most 100000000000"]),
    ("orders() > " + "9" * 400, ["a number beyond all bounds"]),
    ("not " * (MAX_DEPTH + 1) + "r > 1", [f"more than {MAX_DEPTH} levels"]),
])  # fmt: skip
def test_a_mistake_in_a_condition_says_where_what_and_what_instead(condition, parts):
    text = mistake_of(condition)
    assert ", expected " in text
    for part in parts:
        assert part in text


@pytest.mark.parametrize("condition", [
    "orders.__class__ == 1", "orders().real > 1", "().__class__", "(lambda: 1)() > 1", "f'{orders()}' == stage",
    "[x for x in (1,)] == 1", "any(x for x in (1,))", "(x := orders()) > 1", "orders() if r > 1 else f > 1", "{} == r",
    "orders(*[60]) > 1", "orders(**{}) > 1", "orders()[0] > 1", "b'a' == stage", "1j < orders()", "... == r",
    "None == r", "True == r", "True", "await orders() > 1", "yield", "print(1)", "__import__('os') == 1",
    "orders() ** 2 > 1",
    "orders() // 2 > 1", "orders() % 2 > 1", "~orders() > 1", "orders() @ 2 > 1", "orders() >> 1 > 1", "*orders()",
    "r > 1, f > 1", "r > 1; f > 1", "exec('1')", "orders()()", "'a' 'b'", "r > 1\x00", "import os",
    "days_since('a' + 'b') > 1",     "tag(f'{1}')", "trait('a'.upper()) == 1", "r > 1\\\n", "\ud800 > 1",
])  # fmt: skip
def test_nothing_of_pythons_grammar_beyond_the_language_is_taken(condition):
    assert mistakes(tags={"own": {"if": condition}})


@pytest.mark.parametrize("condition", [
    "r > 1", "(r > 1)", "((r) > (1))", "r>1", "r > 1 and not (f > 1 or m > 1)", "1 < r < 3", "-1 < r", "r > -1",
    "r > 1_000", "r >\n  1\n  and f > 2", 'trait("# no comment") == "#"', "(r > 1\n)", "orders(60) not in [1, 2]",
    'has_trait("a b")', 'trait("on") == true', '"a" in trait("b")', '-1 not in trait("b")',
    'trait("a") in [true, "x", 1]',
])  # fmt: skip
def test_all_of_the_language_is_taken(condition):
    assert mistakes(tags={"own": {"if": condition}}) == []


def test_a_condition_of_more_characters_than_a_person_reads_is_refused():
    (line,) = mistakes(tags={"own": {"if": "r > 1" + " " * MAX_LENGTH}})
    assert line == "tags.own: Expected `str` of length <= 1000 - at `$.if`"
    with pytest.raises(ConditionError, match="1005 characters, expected at most 1000"):
        parse_condition("r > 1" + " " * MAX_LENGTH, Words())


@pytest.mark.parametrize(("counter", "parts"), [
    ({"events": []}, ["counters.own", "$.events", "length >= 1"]),
    ({}, ["counters.own", "missing required field `events`"]),
    ({"event": ["A"]}, ["counters.own.event:", "did you mean events?"]),
    ({"events": ["A", "A"]}, ["counters.own.events", "the same event twice"]),
    ({"events": ["A"], "where": "category = 'tea'"}, ["counters.own.where", 'category == "tea"']),
    ({"events": ["A"], "where": "category"}, ["counters.own.where", "column 1", "`category`"]),
    ({"events": ["A"], "where": "exist(category)"}, ["exist(category)", "did you mean exists?"]),
    ({"events": ["A"], "where": "exists(category, 1)"}, ["exists(category, 1)", "exists(path)"]),
    ({"events": ["A"], "where": "exists(category, deep=1)"}, ["exists(category, deep=1)", "exists(path)"]),
    ({"events": ["A"], "where": "contains(category, 5)"}, ["contains(path, text)"]),
    ({"events": ["A"], "where": 'category > "a"'}, ["with a number"]),
    ({"events": ["A"], "where": "category in []"}, ["`[]`", "a list such as"]),
    ({"events": ["A"], "where": "category == name"}, ["column 13", "`name`", "in quotes"]),
    ({"events": ["A"], "where": '"tea" == category'}, ["column 1", "a property such as category"]),
    ({"events": ["A"], "where": "days_before(a, b) > 1"}, ["days_before(path)"]),
    ({"events": ["A"], "where": "a.b().c == 1"}, ["a property such as category"]),
    ({"events": ["A"], "where": "a == 1 # one"}, ["column 8", "a comment"]),
    ({"events": ["A"], "where": "not " * 45 + "a == 1"}, [f"more than {MAX_DEPTH} levels"]),
    ({"events": ["A"], "sum": "product.quantity"}, ["counters.own.sum", "the name of one property"]),
    ({"events": ["A"], "each": "products[0]"}, ["counters.own.each", "holds the list"]),
    ("A", ["counters.own", "expected events, where, each, sum, got the str 'A'"]),
])  # fmt: skip
def test_a_mistake_in_a_counter(counter, parts):
    (line,) = mistakes(counters=SHIPPED["counters"] | {"own": counter})
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    "word", ["orders", "spend", "interactions", "r", "stage", "tag", "trait", "days_since", "date"]
)
def test_a_counter_cannot_take_a_word_of_the_language(word):
    (line,) = mistakes(counters=SHIPPED["counters"] | {word: {"events": ["A"]}})
    assert line == f"counters.{word}: expected another name, {word} is a word of the language"


@pytest.mark.parametrize(("tag", "parts"), [
    ({"iff": "r > 1"}, ["tags.own.iff", "did you mean if?"]),
    ({}, ["tags.own", "missing required field `if`"]),
    ({"if": True}, ["tags.own", "Expected `str`, got `bool`", "$.if"]),
    ({"if": ""}, ["tags.own", "length >= 1"]),
    ({"if": "r > 1", "group": "valu"}, ["tags.own.group", "'valu' (did you mean value?)", "one of value, lifecycle"]),
    ({"if": "r > 1", "ends": "r <"}, ["tags.own.ends", "column"]),
    ({"if": "r > 1", "reason": "{oders(60)}"}, ["tags.own.reason", "oders", "did you mean orders?"]),
    ({"if": "r > 1", "reason": "{orders(60)"}, ["tags.own.reason", "text with values in braces"]),
    ({"if": "r > 1", "reason": "{orders(60):.2f}"}, ["tags.own.reason", "with a format"]),
    ({"if": "r > 1", "reason": "{}"}, ["tags.own.reason", "a value such as orders(60)"]),
    ({"if": "r > 1", "reason": "{date(purchas)}"}, ["tags.own.reason", "did you mean purchase?"]),
    ({"if": "r > 1", "reason": "{orders.__class__}"}, ["tags.own.reason", "orders.__class__"]),
    (None, ["tags.own", "expected if, ends, reason, group, description, got nothing"]),
])  # fmt: skip
def test_a_mistake_in_a_tag(tag, parts):
    (line,) = mistakes(tags={"own": tag})
    for part in parts:
        assert part in line


@pytest.mark.parametrize("name", ["Own", "own tag", "1st", "", "a" * 51, 3, True])
def test_names_are_short_words(name):
    (line,) = mistakes(tags={name: {"if": "r > 1"}})
    assert line == f"tags.{name}: expected a name of a-z, 0-9 and _ that begins with a letter, 50 at most"


def test_tags_never_name_each_other_in_a_circle_nor_a_segment():
    own = {"a": {"if": 'tag("b")'}, "b": {"if": "r > 1", "ends": 'not tag("a")'}}
    (line,) = mistakes(tags=own)
    assert re.fullmatch(r"tags\.[ab]: tags name each other in a circle: ([ab] → ){2}[ab]", line)
    (line,) = mistakes(tags={"a": {"if": 'tag("a")'}})
    assert line == "tags.a: tags name each other in a circle: a → a"
    (line,) = mistakes(tags={"a": {"if": 'tag("segment:s")'}}, segments={"s": {"if": "r > 1"}})
    assert "tag 'segment:s'" in line
    assert (
        mistakes(tags={"a": {"if": "r > 1"}}, segments={"s": {"if": 'tag("a")'}, "t": {"if": 'tag("segment:s")'}}) == []
    )


def stages(*changes):
    """The shipped stages with some of them replaced, by place."""
    found = [dict(stage) for stage in SHIPPED["stages"]]
    for place, stage in changes:
        found[place] = stage
    return found


@pytest.mark.parametrize(("listed", "key", "part"), [
    (stages()[1:], "stages", "each of prospect, first_purchase, repeat, loyal, dormant, churned once"),
    (stages((1, stages()[0])), "stages", "got churned, churned, loyal"),
    (stages((0, {"stage": "churnd", "if": "r > 1"})), "stages", "churnd (did you mean churned?)"),
    (stages((0, {"stage": "churned"})), "stages.churned.if", "all others have one"),
    (stages((5, {"stage": "prospect", "if": "r > 1"})), "stages.prospect.if", "the last stage has no condition"),
    (stages((0, {"stage": "churned", "if": 'stage == "loyal"'})), "stages.churned.if", "stage in the condition of"),
    (stages((0, {"stage": "churned", "if": 'tag("a")'})), "stages.churned.if", "tag 'a'"),
    (stages((0, {"stage": "churned", "when": "r > 1"})), "stages[0].when", "expected one of stage, if"),
    ({"churned": "r > 1"}, "stages", "expected a list"),
    ([], "stages", "got none"),
])  # fmt: skip
def test_a_mistake_in_the_stages(listed, key, part):
    (line,) = mistakes(stages=listed)
    assert line.startswith(f"{key}: ")
    assert part in line


def test_all_mistakes_of_a_file_are_told_at_once():
    lines = mistakes(
        tag={},
        counters={"Bad": {"events": ["A"]}, "own": {"events": ["A"], "where": "a ="}, "third": {"evnts": []}},
        stages=stages(
            (0, {"stage": "churned", "if": "days_since(never) > 3"}), (1, {"stage": "dorman", "if": "r > 1"})
        ),
        tags={
            "a": {"if": "third(30) > 1 and oders(3) > 1", "ends": "r >", "reason": "{nothing}", "group": "x"},
            "b": {"iff": "r > 1"},
            "c": {"if": 'tag("b") and tag("d")'},
        },
        segments={"s": {"if": 'tag("b") and tag("segment:t")'}},
    )
    keys = [line.split(": ")[0] for line in lines]
    assert sorted(keys) == sorted([
        "tag", "counters.Bad", "counters.third.evnts", "tags.b.iff", "counters.own.where", "stages",
        "stages.churned.if", "tags.a.group", "tags.a.if", "tags.a.ends", "tags.a.reason", "tags.c.if", "segments.s.if",
    ])  # fmt: skip


@pytest.mark.parametrize("data", [[], "text", 3, ["tags"]])
def test_a_file_that_is_no_mapping(data):
    with pytest.raises(DefinitionsError, match="expected the sections counters, stages, tags, segments"):
        parse_catalogue(data, CONFIG.calendar)


def test_no_file_lacks_the_stages():
    with pytest.raises(DefinitionsError, match="stages: expected each of prospect"):
        parse_catalogue(None, CONFIG.calendar)
