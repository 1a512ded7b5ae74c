"""What a rule file may say, and where exactly each mistake is shown."""

from pathlib import Path

import pytest

from services.rules.core.model import Limits, On, Rule, When
from services.rules.core.syntax import RulesRefused, parse_rules

DAY_MS = 86_400_000
GOOD = """\
rule: comeback
description: Wakes up sleeping customers.
when: {tag_added: at_risk}
if: profile.rfm.m >= 3
limits: {cooldown: 30d}
then:
  - email: {template: comeback}
"""


def rule_of(text: str) -> Rule:
    return parse_rules({"r.yaml": text.encode()})[0]


def mistakes_of(*texts: str) -> list[str]:
    """Mistakes as `file:line:column: …`; files are named a.yaml, b.yaml …"""
    files = {f"{chr(ord('a') + i)}.yaml": text.encode() for i, text in enumerate(texts)}
    with pytest.raises(RulesRefused) as refused:
        parse_rules(files)
    return [str(mistake) for mistake in refused.value.mistakes]


def with_line(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_good_file_becomes_a_rule() -> None:
    rule = rule_of(GOOD)
    assert (rule.name, rule.whens, rule.limits) == (
        "comeback",
        (When(On.TAG_ADDED, "at_risk"),),
        Limits(cooldown_ms=30 * DAY_MS),
    )
    assert rule.condition is not None
    assert rule.actions == b'[{"channel":"email","destination":"","params":{},"template":"comeback"}]'


def test_every_kind_of_when_is_understood() -> None:
    text = with_line(
        "when: {tag_added: at_risk}",
        "when:\n  - event: Order Completed\n  - {first_event: Registered}\n  - {tag_removed: loyal}\n"
        "  - {stage: {from: loyal, to: dormant}}\n  - {stage: {to: churned}}",
    )
    assert rule_of(text).whens == (
        When(On.EVENT, "Order Completed"),
        When(On.FIRST_EVENT, "Registered"),
        When(On.TAG_REMOVED, "loyal"),
        When(On.STAGE, "dormant", "loyal"),
        When(On.STAGE, "churned"),
    )


def test_every_limit_is_understood() -> None:
    text = with_line("{cooldown: 30d}", "{cooldown: 90m, once_per_customer: true, per_customer_per_day: 2}")
    assert rule_of(text).limits == Limits(90 * 60_000, True, 2)


def test_an_action_names_channel_destination_template_and_parameters() -> None:
    action = (
        "webhook: {destination: crm, template: task, params: {due_hours: 24, note: no, at: 22:30, when: 2026-01-31}}"
    )
    rule = rule_of(with_line("email: {template: comeback}", action))
    assert rule.actions == (
        b'[{"channel":"webhook","destination":"crm","params":'
        b'{"at":"22:30","due_hours":24,"note":"no","when":"2026-01-31"},"template":"task"}]'
    )


def test_the_version_follows_the_content_and_nothing_else() -> None:
    version = rule_of(GOOD).version
    assert version == rule_of("# a comment\n" + with_line("Wakes up sleeping customers.", "Another text.")).version
    assert version == rule_of("".join(sorted(GOOD.splitlines(keepends=True)[:5])) + GOOD[GOOD.index("then") :]).version
    assert version == "bfd6c286c8d9", "the version of an unchanged rule must not change with a release"
    changed = (
        with_line("at_risk", "dormant"),
        with_line("m >= 3", "m >= 4"),
        with_line("30d", "31d"),
        with_line("comeback}", "back}"),
    )
    assert len({rule_of(text).version for text in changed} | {version}) == 5


def test_a_written_version_is_taken_as_it_stands() -> None:
    assert rule_of(GOOD + "version: 3\n").version == "3"
    assert rule_of(GOOD + "version: 2026-03.1\n").version == "2026-03.1"


def test_rules_come_in_the_order_of_their_names_whatever_the_files_are_called() -> None:
    other = with_line("rule: comeback", "rule: another")
    assert [rule.name for rule in parse_rules({"1.yaml": GOOD.encode(), "2.yaml": other.encode()})] == [
        "another",
        "comeback",
    ]


NO_SUCH_STAGE = "one of prospect, first_purchase, repeat, loyal, dormant, churned"
CATALOGUE = [
    ("rule: comeback", "rule: Come Back", "1:7: found text `Come Back`, expected a name of a-z, 0-9 and -"),
    ("rule: comeback", "rule: 7", "1:7: found number `7`, expected a name of a-z, 0-9 and -"),
    ("rule: comeback\n", "", "1:1: found a rule without `rule`, expected a rule with rule, when, then"),
    (
        "limits:", "limit:",
        "5:1: found `limit`, expected one of rule, version, description, when, if, limits, then; did you mean limits?",
    ),
    ("description: Wakes up sleeping customers.", "rule: again",
     "2:1: found `rule` a second time, expected each key once"),
    (
        "tag_added", "tag_add",
        "3:8: found `tag_add`, expected one of event, first_event, tag_added, tag_removed, stage, segment_entered,"
        " segment_left; did you mean tag_added?",
    ),
    ("{tag_added: at_risk}", "at_risk",
     "3:7: found text `at_risk`, expected one qualifying change, or a list of them"),
    ("{tag_added: at_risk}", "[]", "3:7: found an empty list, expected one qualifying change, or a list of them"),
    ("{tag_added: at_risk}", "{}",
     "3:7: found an empty mapping, expected one of event, first_event, tag_added, tag_removed, stage, segment_entered,"
     " segment_left"),
    ("{tag_added: at_risk}", "{tag_added: at_risk, event: X}",
     "3:7: found 2 changes in one mapping, expected one; write a list when any of them counts"),
    ("{tag_added: at_risk}", "[{event: X}, {event: X}]",
     "3:7: found the same change twice, expected each change once"),
    ("{tag_added: at_risk}", "{event: 404}",
     "3:15: found number `404`, expected an event name (in quotes, to be a text)"),
    ("{tag_added: at_risk}", "{tag_added: ' '}", "3:19: found an empty text, expected a tag"),
    ("{tag_added: at_risk}", "{event: }", "3:14: found nothing, expected an event name"),
    ("{tag_added: at_risk}", "{stage: {from: loyal}}",
     "3:15: found stage without `to`, expected stage with to"),
    ("{tag_added: at_risk}", "{stage: {to: loyl}}",
     f"3:20: found `loyl`, expected {NO_SUCH_STAGE}; did you mean loyal?"),
    ("{tag_added: at_risk}", "{stage: {from: loyal, to: loyal}}",
     "3:15: found the same stage before and after, expected two different stages"),
    ("profile.rfm.m >= 3", "true",
     "4:5: found true or false `true`, expected a CEL expression (in quotes, to be a text)"),
    ("profile.rfm.m >= 3", "profile.rfm.m >=", "4:21: found in `if`: its end, expected a complete CEL expression"),
    ("profile.rfm.m >= 3", "'true && profil.rfm.m >= 3'",
     "4:14: found in `if`: `profil`, expected one of profile, event, now; did you mean profile?"),
    ("profile.rfm.m >= 3", "profile.rfm.m",
     "4:5: found in `if`: a result of type int, expected an expression that is true or false"),
    ("30d", "30", "5:20: found number `30`, expected a duration such as 30d, 12h, 45m or 90s, at most 400d"),
    ("30d", "0d", "5:20: found text `0d`, expected a duration such as 30d, 12h, 45m or 90s, at most 400d"),
    ("30d", "401d", "5:20: found text `401d`, expected a duration such as 30d, 12h, 45m or 90s, at most 400d"),
    ("cooldown: 30d", "once_per_customer: yes", "5:29: found text `yes`, expected true or false"),
    ("cooldown: 30d", "per_customer_per_day: 21", "5:32: found number `21`, expected a number from 1 to 20"),
    ("cooldown: 30d", "per_customer_per_day: true", "5:32: found true or false `true`, expected a number from 1 to 20"),
    ("{cooldown: 30d}", "30d",
     "5:9: found text `30d`, expected limits: a mapping with cooldown, once_per_customer, per_customer_per_day"),
    ("then:\n  - email: {template: comeback}\n", "",
     "1:1: found a rule without `then`, expected a rule with rule, when, then"),
    ("  - email: {template: comeback}\n", "",
     "6:6: found nothing, expected a list of actions, each `- <channel>: {template: …}`"),
    ("email:", "mail:", "7:5: found `mail`, expected one of webhook, email, wecom, apprise; did you mean email?"),
    ("email: {template: comeback}", "email: {}", "7:12: found the email action without `template`,"
     " expected the email action with template"),
    ("{template: comeback}", "comeback",
     "7:12: found text `comeback`, expected the email action: a mapping with template"),
    ("{template: comeback}", "{template: a b}", "7:23: found text `a b`, expected the name of a template"),
    ("{template: comeback}", "{template: t, params: [1]}",
     "7:34: found a list, expected a mapping of what the template may use"),
    ("{template: comeback}", "{template: t, params: {a: 1, b: {c: 1, c: 2}}}",
     "7:51: found `c` a second time, expected each key once"),
    ("{template: comeback}", "{template: t, params: {a: !!python/name:os.system x}}",
     "7:38: found the tag tag:yaml.org,2002:python/name:os.system, expected a plain value"),
    ("- email: {template: comeback}", "- {email: {template: a}, wecom: {template: b}}",
     "7:5: found several channels in one action, expected one action for each channel"),
    ("at_risk}", "at_risk",
     "4:3: found no YAML (expected ',' or '}', but got ':'), expected one YAML mapping of plain values"),
    ("when: {tag_added: at_risk}", "when: &w {tag_added: at_risk}\nlimits: *w",
     "4:9: found no YAML (an alias (*name)), expected one YAML mapping of plain values"),
    ("limits:", "---\nlimits:",
     "5:1: found no YAML (but found another document), expected one YAML mapping of plain values"),
    ("sleeping", "\x07", "2:1: found a control character, expected printable text"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "mistake"), CATALOGUE)
def test_a_mistake_is_shown_at_its_place_with_what_was_expected(old: str, new: str, mistake: str) -> None:
    assert mistakes_of(with_line(old, new)) == [f"a.yaml:{mistake}"]


def test_mistakes_in_block_and_folded_conditions_point_into_the_file() -> None:
    block = with_line("if: profile.rfm.m >= 3", "if: |\n  profile.rfm.m >= 3 &&\n    profile.stages == ''")
    assert mistakes_of(block)[0].startswith("a.yaml:6:5: found in `if`: `profile.stages`")
    folded = with_line("if: profile.rfm.m >= 3", "if: >\n  profile.rfm.m >= 3 &&\n  profile.stages == ''")
    assert mistakes_of(folded)[0].startswith("a.yaml:4:5: found in `if`: `profile.stages`")


def test_all_mistakes_of_all_files_are_found_together() -> None:
    found = mistakes_of(
        "rule: A\nwhen: {evnt: X}\nif: foo()\nthen: []\nthem: 1\n", GOOD, "- 1\n", with_line("at_risk", "dormant")
    )
    assert [text.split(": found")[0] for text in found] == [
        "a.yaml:1:7",
        "a.yaml:2:8",
        "a.yaml:3:5",
        "a.yaml:4:7",
        "a.yaml:5:1",
        "c.yaml:1:1",
        "d.yaml:1:7",
    ]
    assert found[-1] == "d.yaml:1:7: found rule `comeback`, also in b.yaml, expected a name of its own"


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"", "found an empty file, expected a rule"),
        (b"rule: \xff", "found bytes that are no UTF-8, expected a text file in UTF-8"),
        (b"[" * 5_000, "found hundreds of levels of nesting, expected a rule"),
        (b"#" * 70_000, "found 70000 bytes, expected at most 65536"),
    ],
)
def test_what_is_no_rule_file_at_all_is_said_so(content: bytes, mistake: str) -> None:
    with pytest.raises(RulesRefused) as refused:
        parse_rules({"x.yaml": content})
    assert str(refused.value) == f"x.yaml:1:1: {mistake}"


def test_no_file_at_all_is_a_mistake_too() -> None:
    with pytest.raises(RulesRefused, match="found no rule file"):
        parse_rules({})


def test_the_shipped_rules_are_good_and_complete() -> None:
    folder = Path(__file__).parents[3] / "deploy/config/rules"
    rules = parse_rules({path.name: path.read_bytes() for path in folder.glob("*.yaml")})
    assert [rule.name for rule in rules] == ["care-90-days", "coupon-30-days", "first-order", "vip-watch", "welcome"]
    assert all(rule.file == f"{rule.name}.yaml" and rule.description for rule in rules)
