"""A name in the forms that are compared."""

import pytest

from cli.suggest.names import Name, blurred, parse_name


def parsed(name: str = "", given: str = "", family: str = "") -> Name:
    found = parse_name(name, given, family)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "given", "family"),
    [
        ("Anna  SCHMIDT", "anna", "schmidt"),
        ("Schmidt, Anna", "anna", "schmidt"),
        ("Dr. Anna-Lena von der Heide", "anna lena", "von der heide"),
        ("José Müller", "jose", "muller"),
        ("Anna", "anna", ""),
        ("李小明", "小明", "李"),
        ("李 小明", "小明", "李"),
        ("李小明先生", "小明", "李"),
        ("欧阳修", "修", "欧阳"),
        ("李", "", "李"),
        ("张**", "", "张"),
        ("阿不都·热合曼", "阿不都", "热合曼"),
    ],
)
def test_a_whole_name_is_parted(text: str, given: str, family: str) -> None:
    found = parsed(text)
    assert (found.given, found.family) == (given, family)


def test_parts_that_are_stated_come_before_the_whole_name() -> None:
    found = parsed("anything else", "Anna", "Schmidt")
    assert (found.given, found.family) == ("anna", "schmidt")


@pytest.mark.parametrize("text", ["", "  ", "***", "12345", "Mr."])
def test_what_holds_no_name_is_none(text: str) -> None:
    assert parse_name(text) is None


@pytest.mark.parametrize("latin", ["Xiaoming Li", "Li Xiaoming", "LI Xiao Ming", "li, xiaoming"])
def test_pinyin_in_any_order_sounds_like_the_characters(latin: str) -> None:
    han, found = parsed("李小明"), parsed(latin)
    assert han.whole in (found.whole, found.turned) or han.turned == found.whole


def test_characters_of_one_sound_sound_the_same() -> None:
    assert parsed("李小明").whole == parsed("李晓明").whole == "lixiaoming"


def test_a_family_name_has_its_own_sound() -> None:
    assert parsed("单小曾").family_sound == "shan"
    assert parsed("曾伟").family_sound == "zeng"


@pytest.mark.parametrize(("one", "other"), [("zhang", "zan"), ("lv", "lyu"), ("shengchang", "sencan")])
def test_what_dialects_and_keyboards_blur_is_one(one: str, other: str) -> None:
    assert blurred(one) == blurred(other)
