"""What rules assumes of profile and notify, and every example of the schemas through the whole handler."""

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
import yaml

from services.chassis.avro import Codec
from services.chassis.records import Record
from services.chassis.redis.slots import Slot
from services.chassis.testing.examples import Example, all_examples
from services.profile.core.configuration import parse_config
from services.profile.core.state import Conclusion, Rfm
from services.profile.core.summary import profile_json
from services.profile.core.tagging.vocabulary import STAGES as PROFILE_STAGES
from services.profile.core.view import view
from services.rules.adapters import Wire, read_folder
from services.rules.core.cel_source import PROFILE_FIELDS, RFM_FIELDS
from services.rules.core.clauses import STAGES
from services.rules.core.evaluate import RuleIndex
from services.rules.core.model import On
from services.rules.core.syntax import parse_rules
from services.rules.handler import RulesHandler

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "deploy/config"
SHIPPED = parse_rules(read_folder(CONFIG / "rules"))
PROFILE = parse_config(None, yaml.safe_load((CONFIG / "tags.yaml").read_text()))
FORMS = {"email": "email.*.txt", "webhook": "webhook.json", "wecom": "wecom.*.md", "apprise": "text.*.txt"}
THEN = "then: [{email: {template: t}}]"


class Nothing:
    def get_many(self, keys: list[str]) -> list[bytes | None]:
        return [None] * len(keys)


def test_the_shipped_rules_name_destinations_and_templates_that_exist() -> None:
    destinations = yaml.safe_load((CONFIG / "destinations.yaml").read_text())["destinations"]
    for rule in SHIPPED:
        for action in msgspec.json.decode(rule.actions):
            assert destinations[action["destination"]]["channel"] == action["channel"], rule.file
            assert list((CONFIG / "templates" / action["template"]).glob(FORMS[action["channel"]])), rule.file


def test_the_shipped_rules_wait_for_tags_that_profile_gives() -> None:
    given = {definition.name for definition in PROFILE.catalogue.tags}
    named = {when.name for rule in SHIPPED for when in rule.whens if when.on in (On.TAG_ADDED, On.TAG_REMOVED)}
    assert named <= given


def test_conditions_know_the_stages_and_fields_that_profile_writes() -> None:
    written = msgspec.json.decode(
        profile_json(
            "c",
            view((), 1_750_000_000_000, PROFILE),
            Conclusion({}, "prospect", 1),
            Rfm(-1, 0, 0, "CNY", 0, 0, 0, 0, 0),
        )
    )
    assert STAGES == PROFILE_STAGES
    assert set(PROFILE_FIELDS) == set(written)
    assert set(RFM_FIELDS) == set(written["rfm"])


@pytest.mark.parametrize("example", list(all_examples("profile_change")), ids=lambda example: example.name)
def test_every_example_goes_through(example: Example) -> None:
    names = {example.fields["name"] or "Nothing"}
    tags = set(example.fields["tags_added"] + example.fields["tags_removed"]) or {"none"}
    whens = [f"{{event: {name}}}" for name in names]
    whens += [f"{{{kind}: {tag}}}" for tag in tags for kind in ("tag_added", "tag_removed")]
    condition = (
        "profile.stage != 'x' && size(event.properties) >= 0 && now == now && event.occurred_at == event.occurred_at"
    )
    text = f"rule: all\nwhen: [{', '.join(whens)}]\nif: {condition}\n{THEN}"
    index = RuleIndex(parse_rules({"all": text.encode()}), ZoneInfo("Asia/Shanghai"))
    handler = RulesHandler(Slot("rules", 0), Nothing(), {}, lambda: index, Wire("", 4))
    record = Record("profile.changes", 0, 0, example.fields["customer_id"].encode(), example.value, {}, 1)
    decision = handler.decide([record], [], 1)
    assert decision is not None
    fires = example.fields["kind"] != "erased" and not example.fields["is_import"]
    is_named = fires and (example.fields["name"] or tags != {"none"})
    assert [output.topic for output in decision.outputs] == ["triggers"] * bool(is_named)
    for output in decision.outputs:
        trigger = Codec("trigger").decode(output.value)
        assert trigger["properties"] == (example.fields["properties"] or b"{}")


def test_the_rule_in_the_readme_is_a_good_rule() -> None:
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "services/rules/README.md").read_text(), re.DOTALL)
    assert block is not None
    (rule,) = parse_rules({"readme.yaml": block[1].encode()})
    assert (len(rule.whens), rule.limits.any_set, rule.version) == (6, True, "3")
