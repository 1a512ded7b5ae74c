"""What operators change is concluded by itself, before the customer's next event, and is no news of the customer's."""

import json

from services.chassis.avro import Codec
from services.chassis.testing.fake_ledger import FakeLedger
from services.profile.core.config import ProfileConfig
from services.profile.core.judgement import judgement
from services.profile.core.tags import conclude
from services.profile.core.timers import untils_ms
from services.profile.handler import ProfileHandler
from tests.regression.test_customer_log import SLOT, event
from tests.unit.profile.profile_builders import CUTS, NOW_MS, config_with, part_of
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


def test_events_of_a_part_of_other_measures_are_counted_by_the_backfill_alone():
    config, changed = config_with(counters=COUNTED), config_with(counters=MORE)
    part = part_of(TEA, config=config)
    assert part_of(TEA, config=changed, part=part).measures["teas"].total == 1
    assert part_of(TEA, TEA, config=changed).measures["teas"].total == 2
