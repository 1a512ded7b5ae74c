"""What `tags preview` shows of a changed file: every definition that says something else now, stages too."""

import pytest

from cli.tags.preview import changed, preview
from services.profile.core.judgement import judgement
from services.profile.core.tags import conclude
from tests.unit.profile.profile_builders import CONFIG, CUTS, NOW_MS, SHIPPED, config_with, event, part_of

CATALOGUE = CONFIG.catalogue
BELOW_DORMANT = ["stage:dormant", "stage:loyal", "stage:repeat", "stage:first_purchase", "stage:prospect"]


def stages(**conditions):
    """The shipped stages with these conditions."""
    return [stage | {"if": conditions.get(stage["stage"], stage["if"])} if "if" in stage else stage
            for stage in SHIPPED["stages"]]  # fmt: skip


def with_sections(**sections):
    return config_with(tags=SHIPPED["tags"], segments=SHIPPED["segments"], **sections).catalogue


def test_the_same_file_changes_nothing():
    assert changed(with_sections(), CATALOGUE) == []
    assert changed(with_sections(stages=stages()), CATALOGUE) == []


def test_a_changed_stage_touches_itself_and_every_one_below_and_the_tags_that_name_it():
    late = with_sections(stages=stages(dormant="days_since(activity) > 60"))
    assert changed(late, CATALOGUE) == [*BELOW_DORMANT, "dormant", "churned"]
    last = with_sections(stages=stages(first_purchase="orders() >= 1 and r > 0"))
    assert changed(last, CATALOGUE)[:2] == ["stage:first_purchase", "stage:prospect"]


def test_a_stage_over_a_counter_changes_with_the_counter():
    shares = {"shares": {"events": ["Content Shared"]}}
    stage = stages(loyal="shares(90) > 3")
    own = {"own": {"if": 'stage == "loyal"'}, "over": {"if": 'tag("own")'}, "other": {"if": "r > 1"}}
    counters = SHIPPED["counters"]
    old = config_with(stages=stage, tags=own).catalogue
    new = config_with(stages=stage, tags=own, counters=counters | shares).catalogue
    assert changed(new, old) == ["stage:loyal", "stage:repeat", "stage:first_purchase", "stage:prospect", "own", "over"]


def test_another_order_of_the_stages_is_a_change():
    listed = stages()
    listed[1], listed[2] = listed[2], listed[1]
    assert changed(with_sections(stages=listed), CATALOGUE)[:5] == ["stage:loyal", "stage:dormant", *BELOW_DORMANT[2:]]


def test_what_is_gone_is_named():
    found = changed(config_with(tags={}).catalogue, config_with(tags={"own": {"if": "r > 1"}}).catalogue)
    assert found == ["own"]


@pytest.mark.parametrize(("days", "moved"), [(60, 0), (61, 1), (181, 0)])
def test_who_comes_to_a_stage_and_who_leaves_one_is_counted_with_examples(days, moved):
    part = part_of(event(days_ago=days))
    before, _ = conclude(judgement((part,), NOW_MS, CUTS, CONFIG).facts, [], "", NOW_MS, CONFIG)
    held = {name: tag.reason for name, tag in before.tags.items()} | {"stage": before.stage}
    config = config_with(stages=stages(dormant="days_since(activity) > 60"))
    effects = preview([("anna", (part,))], lambda _: held, CUTS, NOW_MS, config, 3).effects
    come, go = effects["stage:dormant"], effects["stage:prospect"]
    assert (come.gained, [who for who, _ in come.gains]) == (moved, ["anna"] * moved)
    assert (go.lost, [who for who, _ in go.losses]) == (moved, ["anna"] * moved)
