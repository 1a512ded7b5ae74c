"""A key that stands twice is refused with both lines, in every file that people write."""

import pytest
import yaml

from services.chassis.yaml_file import RepeatedKeyError, load_yaml


def refusal(text: str) -> list[str]:
    with pytest.raises(RepeatedKeyError) as refused:
        load_yaml(text)
    return str(refused.value).split("; ")


def test_a_section_pasted_at_the_end_is_refused_with_both_lines() -> None:
    text = "tags:\n  a: 1\nother: 2\ntags:\n  b: 3\n"
    assert refusal(text) == ["tags: expected once, stands on line 1 and on line 4"]


def test_every_repeated_key_is_named_within_lists_and_braces_too() -> None:
    text = "a:\n  - {b: 1, c: 2, b: 3}\n  - d:\n      e: 1\n      e: 2\na: 7\n"
    assert refusal(text) == [
        "a[0].b: expected once, stands on line 2 and on line 2",
        "a[1].d.e: expected once, stands on line 4 and on line 5",
        "a: expected once, stands on line 1 and on line 6",
    ]


@pytest.mark.parametrize("text", [
    "", "3", "a: {b: 1}\nc: {b: 1}", "- {a: 1}\n- {a: 1}", "a.b: 1\na: {b: 2}", "a: &x {b: 1}\nc: *x\nd: *x",
])  # fmt: skip
def test_what_stands_once_in_its_mapping_is_read_as_yaml_reads_it(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


def test_an_alias_within_itself_ends() -> None:
    found = load_yaml("&a {b: *a}")
    assert found["b"] is found


def test_many_aliases_of_aliases_are_looked_at_once() -> None:
    levels = "\n".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))
    assert len(load_yaml(f"a0: &a0 [1]\n{levels}")) == 60


@pytest.mark.parametrize("text", ["a: [", "? [a]\n: 1\n? [a]\n: 2", "\tx"])
def test_what_is_no_yaml_stays_a_yaml_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)


def test_two_merges_and_keys_of_two_kinds_are_no_repetition() -> None:
    text = "a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: *a\n  <<: *b\n  1: one\n  '1': text\n"
    assert load_yaml(text)["c"] == {"x": 1, "y": 2, 1: "one", "1": "text"}
