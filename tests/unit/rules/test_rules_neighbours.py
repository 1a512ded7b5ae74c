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
from services.chassis.testing.fake_ledger import FakeLedger
from services.profile.core.configuration import parse_config
from services.profile.core.state import Conclusion, Rfm
from services.profile.core.summary import profile_json
from services.profile.core.tagging.catalogue import SEGMENT as PROFILE_SEGMENT
from services.profile.core.tagging.vocabulary import STAGES as PROFILE_STAGES
from services.profile.core.view import view
from services.profile.handler import ProfileHandler
from services.rules.adapters import Wire, read_folder
from services.rules.core.cel_source import PROFILE_FIELDS, RFM_FIELDS
from services.rules.core.clauses import SEGMENT, STAGES
from services.rules.core.evaluate import RuleIndex
from services.rules.core.model import On
from services.rules.core.syntax import parse_rules
from services.rules.handler import RulesHandler
from tests.regression.test_customer_log import event
from tests.unit.profile.profile_builders import NOW_MS, config_with

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


SEGMENT_RULES = parse_rules(
    {
        "in": f"rule: in\nwhen: {{segment_entered: once}}\n{THEN}".encode(),
        "out": f"rule: out\nwhen: {{segment_left: once}}\n{THEN}".encode(),
        "tag": f"rule: tag\nwhen: [{{tag_added: once}}, {{tag_removed: once}}]\n{THEN}".encode(),
    }
)


def test_entering_and_leaving_a_segment_fire_their_own_rules() -> None:
    config = config_with(segments={"once": {"if": "interactions() == 1"}})
    index, ledger, fired = RuleIndex(SEGMENT_RULES, ZoneInfo("Asia/Shanghai")), FakeLedger(), []
    rules = RulesHandler(Slot("rules", 0), Nothing(), {}, lambda: index, Wire("", 4))
    for number in (1, 2):
        handler = ProfileHandler(Slot("profile", 0), ledger, {}, config, 1, lambda: None, 0)
        changes = handler.decide([event("anna", number, f"1.0.{number}")], [], NOW_MS)
        ledger.connection.server.strings |= changes.sets
        records = [
            Record(one.topic, 0, number, one.key, one.value, dict(one.headers), NOW_MS)
            for one in changes.outputs
            if one.topic == "profile.changes"
        ]
        triggers = rules.decide(records, [], NOW_MS)
        assert triggers is not None
        fired.append([Codec("trigger").decode(output.value)["rule"] for output in triggers.outputs])
    assert fired == [["in"], ["out"]]


def test_profile_and_rules_write_a_segment_alike() -> None:
    assert (SEGMENT, PROFILE_SEGMENT) == ("segment:", "segment:")


def test_the_rule_in_the_readme_is_a_good_rule() -> None:
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "services/rules/README.md").read_text(), re.DOTALL)
    assert block is not None
    (rule,) = parse_rules({"readme.yaml": block[1].encode()})
    assert (len(rule.whens), rule.limits.any_set, rule.version) == (6, True, "3")
