"""The plan: one seed, one play; and ingest sees in every event what the demo's books say of it."""

from collections import Counter
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import pytest

from cli.demo.acts import HISTORY, SHOP, WEB, Planned
from cli.demo.people import PEOPLE_PER_RUN, make_person
from cli.demo.plan import KEYS, Plan, make_plan
from cli.demo.shop import LIMITS_DAYS, MARGIN_DAYS, age_ms
from services.ingest.core.envelope import Body, split_batch, split_import
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.touchpoint import judge
from services.ingest.write_keys import load_keyring

NOW_MS = 1_790_000_000_000


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(7, "t0k3n", 42, 6_000)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(plan: Plan) -> None:
    again, other = make_plan(7, "t0k3n", 42, 6_000), make_plan(7, "t0k3n", 43, 6_000)
    bodies = [batch.body(NOW_MS, NOW_MS) for batch in plan.batches]
    assert [batch.body(NOW_MS, NOW_MS) for batch in again.batches] == bodies
    assert [batch.body(NOW_MS, NOW_MS) for batch in other.batches] != bodies


def test_another_run_has_other_people_and_message_ids(plan: Plan) -> None:
    def names(of: Plan) -> set[str]:
        return {
            name for batch in of.batches for event in batch.events for name in (event.message_id, *event.identifiers)
        }

    assert not names(plan) & names(make_plan(8, "t0k3o", 42, 6_000))


def test_no_two_people_of_any_runs_share_a_phone() -> None:
    random = Random(1)
    last = PEOPLE_PER_RUN - 1
    people = [make_person(run, "t", place, random, 1) for run in range(40) for place in (*range(50), last - 1, last)]
    phones = [person.phone for person in people if person.phone]
    assert len(set(phones)) == len(phones)


def test_ingest_reads_every_event_as_the_books_do(plan: Plan) -> None:
    keyring = load_keyring(Path("deploy/config/write_keys.yaml"))
    seen: Counter[str] = Counter()
    for batch in plan.batches:
        source = keyring.source_of(KEYS[batch.channel], NOW_MS)
        assert source is not None
        split = split_import if batch.channel == HISTORY else split_batch
        body = split(batch.body(NOW_MS, NOW_MS))
        assert isinstance(body, Body)
        assert len(body.events) == len(batch.events)
        arrival = Arrival(source, NOW_MS, "", batch.channel == HISTORY, body.sent_at, body.context)
        for raw, event in zip(body.events, batch.events, strict=True):
            verdict = judge(raw, arrival, partial(next, map(str, count())))
            if not isinstance(verdict, Accepted):
                assert event.fault == verdict.problems[0].code, (verdict, raw[:300])
                seen[event.fault] += 1
                continue
            assert not event.fault, raw[:300]
            found = verdict.touchpoint
            assert not verdict.remarks
            assert found.event_id == event.message_id
            assert set(found.identifiers) == set(event.identifiers)
            assert _amount(event) == (found.order_id, found.amount_minor) or event.order is None
            assert found.occurred_at == NOW_MS - event.age_ms or not event.age_ms
    assert len(seen) >= 9


def _amount(event: Planned) -> tuple[str, int] | None:
    return None if event.order is None else (event.order[0], abs(event.order[1]))


def test_clients_repeat_whole_batches_soon_after_the_first(plan: Plan) -> None:
    repeats = [n for n, batch in enumerate(plan.batches) if batch.is_repeat]
    assert repeats
    for n in repeats:
        assert plan.batches[n].events in [batch.events for batch in plan.batches[max(0, n - 10) : n]]


def test_history_comes_first_and_every_channel_has_a_part(plan: Plan) -> None:
    channels = [batch.channel for batch in plan.batches]
    assert channels == sorted(channels, key=lambda channel: channel != HISTORY)
    assert set(channels) == {HISTORY, WEB, SHOP}


def test_ages_keep_away_from_the_days_on_which_profile_changes_its_mind() -> None:
    ages = [age_ms(hours / 24) / 86_400_000 for hours in range(24 * 800)]
    for limit in LIMITS_DAYS:
        assert not [age for age in ages if limit - MARGIN_DAYS < age <= limit + MARGIN_DAYS]


def test_the_smallest_play_has_all_kinds_of_things() -> None:
    events = [event for batch in make_plan(1, "t", 1, 500).batches for event in batch.events]
    names = {event.message.get("event") for event in events}
    assert {"Registered", "Order Completed", "Product Added", "Message Replied"} <= names
    assert any(event.fault for event in events)
