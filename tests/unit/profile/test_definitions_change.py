"""What operators change is concluded by itself, before the customer's next event, and is no news of the customer's."""

import json
from dataclasses import replace

from services.chassis.avro import Codec
from services.chassis.testing.fake_ledger import FakeLedger
from services.profile.core.config import ProfileConfig
from services.profile.core.configuration import parse_config
from services.profile.core.judgement import judgement
from services.profile.core.state import Ring
from services.profile.core.tags import conclude
from services.profile.core.timers import untils_ms
from services.profile.handler import ProfileHandler
from tests.regression.test_customer_log import SLOT, TOUCHPOINT, event
from tests.unit.profile.profile_builders import CUTS, NOW_MS, SHIPPED, TODAY, config_with, part_of, purchase
from tests.unit.profile.profile_builders import event as happened

VISITS = {"visitor": {"if": 'days_since("Visited") >= 0'}}
BEFORE = config_with()
AFTER = config_with(tags=VISITS | {"keen": {"if": "interactions() >= 2"}})


def changes(ledger: FakeLedger, config: ProfileConfig, *records) -> list[tuple[str, bool, list[str], str]]:
    """(kind, is_import, tags added, flags in the header) of each change."""
    decision = ProfileHandler(SLOT, ledger, {}, config, 1, lambda: None, 0).decide(list(records), [], NOW_MS)
    ledger.connection.server.strings |= decision.sets
    found = []
    for output in decision.outputs:
        if output.topic == "profile.changes":
            one = Codec("profile_change").decode(output.value)
            flags = dict(output.headers)["when"].decode().split("\x1f")[1]
            found.append((one["kind"], one["is_import"], list(one["tags_added"]), flags))
    return found


def test_a_new_definition_is_concluded_before_the_next_event_and_marked_as_imported():
    ledger = FakeLedger()
    assert changes(ledger, BEFORE, event("a", 1, "1.0.1")) == [("event", False, [], "sf")]
    assert changes(ledger, AFTER, event("a", 2, "1.0.2")) == [
        ("tick", True, ["visitor"], "ti"),
        ("event", False, ["keen"], "t"),
    ]
    assert changes(ledger, AFTER, event("a", 3, "1.0.3")) == [("event", False, [], "")]


def test_what_is_taken_away_is_imported_as_well():
    ledger = FakeLedger()
    changes(ledger, AFTER, event("a", 1, "1.0.1"))
    assert changes(ledger, BEFORE, event("a", 2, "1.0.2")) == [("tick", True, [], "ti"), ("event", False, [], "")]


def test_a_change_that_says_nothing_new_of_a_customer_is_silent():
    ledger = FakeLedger()
    changes(ledger, AFTER, event("a", 1, "1.0.1"))
    worded = config_with(tags=VISITS | {"keen": {"if": "interactions() >= 2", "description": "came back"}})
    assert changes(ledger, worded, event("a", 2, "1.0.2")) == [("event", False, ["keen"], "t")]


def test_what_a_rate_changes_is_no_news_of_the_customer():
    tags = SHIPPED | {"tags": {"spender": {"if": "spend() > 0"}}, "segments": {}}
    without = parse_config(None, tags)
    rated = parse_config({"rates": {"as_of": "2026-11-01", "to_main": {"USD": 7}}}, tags)
    ledger, sold = FakeLedger(), event("a", 1, "1.0.1", "Order Completed")
    in_dollars = TOUCHPOINT.decode(sold.value) | {"amount_minor": 100, "currency": "USD"}
    assert changes(ledger, without, replace(sold, value=TOUCHPOINT.encode(in_dollars))) == [("event", False, [], "sf")]
    assert changes(ledger, rated, event("a", 2, "1.0.2")) == [
        ("tick", True, ["spender"], "ti"),
        ("event", False, [], "f"),
    ]


COUNTED = {"teas": {"events": ["Page Viewed"], "where": 'category == "tea"'}}
TAGS = {"tea": {"if": "teas(30) >= 1"}, "page": {"if": "interactions(30) >= 1"}, "both": {"if": 'tag("tea") or r > 0'}}
MORE = COUNTED | {"cups": {"events": ["A"], "sum": "n"}}
TEA = happened(properties=json.dumps({"category": "tea"}).encode())


def test_a_part_of_other_measures_keeps_the_tags_that_need_them_and_judges_all_others():
    config = config_with(counters=COUNTED, tags=TAGS)
    changed = config_with(counters=MORE, tags=TAGS | {"cup": {"if": "cups(9) < 1"}})
    first = judgement((part_of(TEA, config=config),), NOW_MS, CUTS, config).facts
    held, _ = conclude(first, [], "1.0.1", NOW_MS, config)
    assert held.tags.keys() == {"tea", "page", "both"}
    old = part_of(TEA, config=config)
    old.measures = {}
    facts = judgement((old,), NOW_MS, CUTS, changed).facts
    kept, _ = conclude(facts, [held], "1.0.2", NOW_MS, changed)
    assert kept.tags == held.tags
    fresh, _ = conclude(judgement((old,), NOW_MS, CUTS, changed).facts, [], "1.0.2", NOW_MS, changed)
    assert fresh.tags.keys() == {"page"}
    untils = untils_ms(facts, kept, changed)
    assert (untils["tea"], untils["both"]) == (0, 0)
    assert untils["page"] > NOW_MS
    counted, _ = conclude(
        judgement((part_of(TEA, config=changed),), NOW_MS, CUTS, changed).facts, [], "1.0.2", NOW_MS, changed
    )
    assert counted.tags.keys() == {"tea", "page", "both", "cup"}


LOYAL = [{"stage": "loyal", "if": "teas(30) >= 1"}] + [
    {"stage": stage, "if": condition}
    for stage, condition in (
        ("churned", "days_since(contact) > 365"), ("dormant", "days_since(activity) > 180"),
        ("repeat", "orders() >= 2"),
        ("first_purchase", "orders() >= 1"),
    )
] + [{"stage": "prospect"}]  # fmt: skip
NAMED = {"bought": {"if": 'stage in ["first_purchase", "repeat"]'}, "drinker": {"if": 'stage == "loyal"'}}
NEW, OLD = config_with(counters=COUNTED, stages=LOYAL, tags=NAMED), config_with(tags=NAMED)


def judged_by(config, held, *parts, at_ms=NOW_MS):
    """What is concluded of parts after `held`; parts are not counted anew."""
    before = [] if held is None else [held]
    return conclude(judgement(parts, at_ms, CUTS, config).facts, before, "1.0.9", at_ms, config)


def test_a_stage_over_a_measure_stays_as_it_was_until_the_customer_is_counted():
    part = part_of(TEA, purchase(2), config=OLD)
    held, _ = judged_by(OLD, None, part)
    assert (held.stage, held.tags.keys()) == ("first_purchase", {"bought"})
    part_of(TEA, purchase(1), config=NEW, part=part)
    waiting, changes = judged_by(NEW, held, part)
    assert changes.is_empty()
    assert (waiting.stage, waiting.stage_since_ms, waiting.tags) == (held.stage, held.stage_since_ms, held.tags)
    part.measures, part.measured = {"teas": Ring(2, [TODAY], [2])}, NEW.catalogue.measures_version
    counted, changes = judged_by(NEW, waiting, part)
    assert (changes.stage_from, changes.stage_to, counted.tags.keys()) == ("first_purchase", "loyal", {"drinker"})


def test_a_stage_that_time_began_keeps_its_moment_while_it_waits():
    part = part_of(happened(days_ago=200), config=OLD)
    held, _ = judged_by(OLD, None, part)
    assert held.stage == "dormant"
    part_of(happened(), config=NEW, part=part)
    waiting, _ = judged_by(NEW, held, part)
    assert (waiting.stage, waiting.stage_since_ms) == ("dormant", held.stage_since_ms)


def test_a_merge_with_somebody_who_is_not_counted_yet_keeps_the_stage_of_the_survivor():
    counted, not_yet = part_of(TEA, config=NEW), part_of(purchase(1), config=OLD)
    mine, _ = judged_by(NEW, None, counted)
    theirs, _ = judged_by(OLD, None, not_yet)
    merged, changes = conclude(
        judgement((counted, not_yet), NOW_MS, CUTS, NEW).facts, [mine, theirs], "1.0.9", NOW_MS, NEW
    )
    assert (mine.stage, merged.stage, changes.stage_from, changes.stage_to) == ("loyal",) * 4


def test_stages_that_look_at_no_measure_go_on_while_one_is_counted():
    part = part_of(purchase(2), config=OLD)
    held, _ = judged_by(OLD, None, part)
    more = config_with(counters=COUNTED, tags=NAMED)
    part_of(purchase(1), config=more, part=part)
    assert judged_by(more, held, part)[0].stage == "repeat"


def test_events_of_a_part_of_other_measures_are_counted_by_the_backfill_alone():
    config, changed = config_with(counters=COUNTED), config_with(counters=MORE)
    part = part_of(TEA, config=config)
    assert part_of(TEA, config=changed, part=part).measures["teas"].total == 1
    assert part_of(TEA, TEA, config=changed).measures["teas"].total == 2
