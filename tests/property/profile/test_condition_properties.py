"""Random definitions and customers: what the compiled judge says is what a naive reading of the conditions says."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.core.judgement import judgement
from services.profile.core.state import Conclusion, TagState
from services.profile.core.tagging.definitions import parse_catalogue
from services.profile.core.tags import conclude
from services.profile.core.timers import MOST_DAYS, next_due_ms, untils_ms
from tests.property.profile.condition_naive import COUNTERS, IN_STAGE, PROPERTIES, STAGES, Naive, conditions, text_of
from tests.property.profile.profile_naive import CALM, CONFIG, NAMES, NOW_MS, ORDER_NAMES, event_lists
from tests.property.profile.test_view_properties import nodes_of, spread
from tests.unit.profile.profile_builders import CUTS

WINDOW = 20
CUTS_OF_DAYS = msgspec.structs.replace(CUTS, recency_days=(3, 8, 15, 30))
TODAY = CONFIG.calendar.day(NOW_MS)
stage_conditions = st.lists(conditions(), min_size=5, max_size=5)
tag_a = conditions(IN_STAGE)
tag_b = conditions(IN_STAGE, st.just(("tag", "a")))
tag_c = conditions(IN_STAGE, st.just(("tag", "a")), st.just(("tag", "b")))
ends = st.one_of(st.none(), tag_a)


class Defined:
    """A catalogue of random conditions, compiled and as trees."""

    def __init__(self, stages, tags) -> None:
        order = ["churned", "dormant", "loyal", "repeat", "first_purchase"]
        self.stages = list(zip(order, stages, strict=True))
        self.tags = tags
        listed = [{"stage": name, "if": text_of(tree)} for name, tree in self.stages] + [{"stage": "prospect"}]
        written = {
            name: {"if": text_of(tree)} | ({"ends": text_of(end)} if end else {}) for name, (tree, end) in tags.items()
        }
        data = {"counters": COUNTERS, "stages": listed, "tags": written}
        catalogue = parse_catalogue(data, CONFIG.calendar)
        windows = msgspec.structs.replace(CONFIG.windows, rfm=WINDOW)
        self.config = msgspec.structs.replace(CONFIG, windows=windows, catalogue=catalogue)

    def __repr__(self) -> str:
        """What an operator would have written; shown with a failing example."""
        stages = [(name, text_of(tree)) for name, tree in self.stages]
        return f"{stages} {[(name, text_of(tree), end and text_of(end)) for name, (tree, end) in self.tags.items()]}"

    def says(self, naive, t, prior):
        """(stage, names of the tags) on day t after these tags were held."""
        stage = next((name for name, tree in self.stages if naive.says(tree, t)), "prospect")
        held: set[str] = set()
        for name, (tree, end) in self.tags.items():
            if naive.says(tree, t, stage, frozenset(held)) or (
                end is not None and name in prior and not naive.says(end, t, stage, frozenset(held))
            ):
                held.add(name)
        return stage, held


@st.composite
def definitions(draw):
    trees = {"a": draw(tag_a), "b": draw(tag_b), "c": draw(tag_c)}
    return Defined(draw(stage_conditions), {name: (tree, draw(ends)) for name, tree in trees.items()})


@st.composite
def customers(draw):
    """Events of which no two have the same ms, some with properties."""
    events = draw(event_lists(max_size=12, max_days=30, is_edgy=False, names=(*NAMES, *ORDER_NAMES)))
    return [
        msgspec.structs.replace(
            one,
            occurred_at=one.occurred_at + number,
            properties=draw(st.sampled_from(PROPERTIES)),
            # What becomes of $set_once and $unset is tested with traits.
            traits={name: value for name, value in one.traits.items() if not name.startswith("$")},
        )
        for number, one in enumerate(events)
    ]


priors = st.sets(st.sampled_from(["a", "b", "c"]))


def judged(parts, now_ms, config):
    return judgement(tuple(parts), now_ms, CUTS_OF_DAYS, config).facts


def held_by(names):
    return Conclusion({name: TagState(1, "1.0.0", "") for name in names}, "prospect", 1)


@given(definitions(), customers(), nodes_of, priors, st.integers(0, 60))
@settings(CALM, max_examples=100)
def test_a_conclusion_is_what_the_conditions_say_of_all_events(defined, events, nodes, prior, later):
    config = defined.config
    naive = Naive(events, CUTS_OF_DAYS, WINDOW)
    now_ms = CONFIG.calendar.start_ms(TODAY + later)
    found, changes = conclude(
        judged(spread(events, nodes, config), now_ms, config), [held_by(prior)], "", now_ms, config
    )
    assert (found.stage, set(found.tags)) == defined.says(naive, TODAY + later, prior)
    assert {name for name, _, _ in changes.tags_added} == found.tags.keys() - prior
    assert set(changes.tags_removed) == prior - found.tags.keys()


@given(definitions(), customers(), nodes_of)
@settings(CALM, max_examples=60)
def test_nothing_changes_before_the_next_day_and_untils_are_exact(defined, events, nodes):
    config, start = defined.config, CONFIG.calendar.start_ms
    naive, parts = Naive(events, CUTS_OF_DAYS, WINDOW), spread(events, nodes, defined.config)
    facts = facts_now = judged(parts, NOW_MS, config)
    conclusion, _ = conclude(facts, [], "1.0.1", NOW_MS, config)
    assert (conclusion.stage, set(conclusion.tags)) == defined.says(naive, TODAY, set())
    due, untils = next_due_ms(facts, config), untils_ms(facts, conclusion, config)
    held = set(conclusion.tags)
    first, over = set(held), {}
    for day in range(TODAY + 1, TODAY + 61):
        stage, now_held = defined.says(naive, day, held)
        if due is None or start(day) < due:
            assert (stage, now_held) == (conclusion.stage, held), f"day {day - TODAY} before {due}"
        else:
            facts = judged(parts, start(day), config)
            conclusion, _ = conclude(facts, [conclusion], "", start(day), config)
            assert (conclusion.stage, set(conclusion.tags)) == (stage, now_held)
            due = next_due_ms(facts, config)
            assert due is None or due > start(day)
        held = now_held
        for name in first - held:
            over.setdefault(name, day)
        first &= held
    for definition in config.catalogue.tags:
        until = untils.get(definition.name)
        said = CONFIG.calendar.day(until) if until else None
        expected = over.get(definition.name)
        # Where every day may change something, only the next ones are looked at.
        if until == 0 and expected is not None and expected > looked_at(definition, facts_now, MOST_DAYS):
            continue
        assert (said if said and said <= TODAY + 60 else None) == expected, (definition.name, said, over)


def looked_at(definition, facts, times):
    """The last of so many days on which time may change the tag."""
    day = TODAY
    for _ in range(times):
        day = definition.next_day(facts, day)
    return day


def test_the_random_stages_are_all_stages():
    assert set(STAGES) == {*[stage for stage, _ in Defined([("has", "a")] * 5, {}).stages], "prospect"}
