"""`touchstream rules check`: what each rule says, or every mistake with its place."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app

RULE = """\
rule: comeback
when: [{tag_added: at_risk}, {stage: {from: loyal, to: dormant}}]
if: profile.rfm.m >= 3
limits: {cooldown: 36h, per_customer_per_day: 2}
then: [{email: {destination: mail, template: hi}}, {wecom: {template: hi}}]
"""


def test_good_rules_are_shown(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RULE + "version: 4\n")
    result = CliRunner().invoke(app, ["rules", "check", str(tmp_path)])
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"comeback  (version 4, {tmp_path}/r.yaml)",
        "  when    tag added at_risk or stage loyal → dormant",
        "  if      profile.rfm.m >= 3",
        "  limits  cooldown 36h, 2 a day",
        "  then    email hi to mail, wecom hi",
        f"1 rules in {tmp_path}, all good",
    ]


def test_every_mistake_is_told_and_the_exit_code_is_1(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULE.replace("at_risk", "''"))
    (tmp_path / "b.yaml").write_text(RULE.replace("email:", "emial:").replace("comeback", "other"))
    result = CliRunner().invoke(app, ["rules", "check", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{tmp_path}/a.yaml:2:20: found an empty text, expected a tag",
        f"{tmp_path}/b.yaml:5:9: found `emial`, expected one of webhook, email, wecom, apprise; did you mean email?",
        f"{tmp_path}: 2 mistake(s) in 2 file(s)",
    ]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["rules", "check", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "No such file or directory; expected a folder of *.yaml" in result.output


def test_the_folder_of_the_service_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTREAM_RULES_FOLDER", str(Path(__file__).parents[3] / "deploy/config/rules"))
    result = CliRunner().invoke(app, ["rules", "check"])
    assert result.exit_code == 0
    assert "5 rules in" in result.output
