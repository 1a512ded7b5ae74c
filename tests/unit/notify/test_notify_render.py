"""Templates are bounded before they run, and no value can break out of its place."""

import json

import pytest

from services.notify.core.filters import RenderError
from services.notify.core.json_template import compile_json
from services.notify.core.render import MAX_LOOP_STEPS, TemplateMistake, compile_text

CONTEXT: dict[str, object] = {
    "traits": {"name": '<b>Lena"}', "tags": list(range(MAX_LOOP_STEPS + 1)), "long": "x" * 60_000},
    "ms": 1_750_000_000_123,
}


def rendered(source: str, kind: str = "text") -> str:
    return compile_text(source, "t.txt", kind)(CONTEXT)


@pytest.mark.parametrize(
    "source",
    [
        "{% macro a() %}{% endmacro %}",
        "{% set a = 1 %}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{{ range(9) }}",
        "{{ traits.items() }}",
        "{{ 'a' * 9 }}",
        "{{ 2 ** 9 }}",
        "{% for a in traits recursive %}{% endfor %}",
        "{{ loop_budget__ }}",
        "{{ traits.name | wordwrap }}",
        "{% call traits() %}{% endcall %}",
        "{{ unclosed",
        "x" * 70_000,
    ],
)
def test_what_could_grow_or_run_for_long_is_refused_with_the_file(source: str) -> None:
    with pytest.raises(TemplateMistake, match=r"t\.txt"):
        compile_text(source, "t.txt", "text")


@pytest.mark.parametrize(
    "source",
    [
        "{{ nobody }}",
        "{{ traits.nobody }}",
        "{{ traits.nobody | upper }}",
        "{{ traits.__class__.__mro__ }}",
        "{% for a in traits.tags %}{% endfor %}",
        "{% for a in traits.name %}{% for b in traits.tags[:1500] %}{% endfor %}{% endfor %}",
        "{{ traits.long }}{{ traits.long }}",
        "{{ traits.tags | join(traits.long) }}",
        "{{ traits.name + 1 }}",
        "{{ ms | date('Nowhere/City') }}",
    ],
)
def test_what_the_data_makes_impossible_is_an_error_not_a_crash(source: str) -> None:
    with pytest.raises(RenderError):
        rendered(source)


def test_html_escapes_values() -> None:
    assert rendered("<p>{{ traits.name }}</p>", "html") == "<p>&lt;b&gt;Lena&#34;}</p>"


def test_markdown_values_lose_what_would_be_markup_or_a_mention() -> None:
    context = {"name": "[x](http://evil) <@all>\n*b*"}
    assert compile_text("**{{ name }}**", "t", "md")(context) == "**［x］（http://evil） ＜@all＞ ＊b＊**"


def test_json_keeps_types_and_cannot_be_broken_out_of() -> None:
    fill = compile_json('{"at": "{{ ms }}", "name": "{{ traits.name }}", "text": "Hi {{ traits.name }}", "n": 3}', "t")
    assert json.loads(fill(CONTEXT)) == {
        "at": 1_750_000_000_123, "name": '<b>Lena"}', "text": 'Hi <b>Lena"}', "n": 3
    }  # fmt: skip


def test_json_that_is_no_json_or_asks_for_what_is_not_there_is_told() -> None:
    with pytest.raises(TemplateMistake, match="not JSON"):
        compile_json("{", "t")
    with pytest.raises(RenderError, match="nobody"):
        compile_json('{"a": "{{ nobody }}"}', "t")(CONTEXT)
    with pytest.raises(RenderError, match="Undefined"):
        compile_json('{"a": "{{ [nobody] }}"}', "t")(CONTEXT)
    with pytest.raises(RenderError, match="nobody"):
        compile_json('{"a": "{{ traits.nobody.b }}"}', "t")(CONTEXT)
    with pytest.raises(RenderError, match="characters of output"):
        compile_json('{"a": "{{ traits.long }}", "b": "{{ traits.long }}"}', "t")(CONTEXT)
    with pytest.raises(TemplateMistake, match="t#a"):
        compile_json('{"a": "{{ f() }}"}', "t")


def test_filters_show_money_moments_and_defaults() -> None:
    assert (
        rendered("{{ 1234567 | money }} {{ 500 | money('JPY') }} {{ 100 | money('SEK') }}")
        == "¥12,345.67 ¥500 1.00 SEK"
    )
    assert rendered("{{ ms | date('Asia/Shanghai') }} {{ ms | time }} {{ ms | iso }}") == (
        "2025-06-15 2025-06-15 15:06 2025-06-15T15:06:40.123Z"
    )
    assert (
        rendered("{{ traits.nobody | default('friend') }} {{ ms | plus_hours(1) | time }}") == "friend 2025-06-15 16:06"
    )
    assert rendered("{{ traits.name | truncate(4) }} {{ {'b': 1, 'a': 2} | items | first | first }}") == "<b>… a"
