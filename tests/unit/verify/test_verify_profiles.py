"""One customer beside its profile: what must be equal, what may be either way, and who was forgotten."""

from typing import Any

import msgspec
import pytest

from cli.verify.profiles.batch import Batch
from cli.verify.profiles.command import as_json, exit_code, show
from cli.verify.profiles.compare import LATE_MS, Difference, row_differences, state_differences
from cli.verify.profiles.run import Report
from services.profile.core.customer_log import CustomerState
from services.profile.core.judgement import judgement
from services.profile.core.state import Conclusion, Event, Part, TagState
from services.profile.core.summary import snapshot_fields
from services.profile.core.tags import conclude
from services.profile.core.timers import next_due_ms
from tests.unit.profile.profile_builders import CONFIG, CUTS, NOW_MS, event, part_of, purchase

# Spend of an only order between what begins promising_first (percentile 80) and what ends it (77).
BETWEEN, ABOVE = 3_950, 4_500


def batch_of(*events: Event) -> Batch:
    return Batch("anna", {"n:1": part_of(*events)}, len(events))


def concluded(batch: Batch, *held: str) -> Conclusion:
    """What profile says that held these tags before."""
    judged = judgement(tuple(batch.parts.values()), NOW_MS, CUTS, CONFIG)
    before = Conclusion({name: TagState(1, "1.0.0", "held before") for name in held})
    return conclude(judged.facts, [before], "1.0.1", NOW_MS, CONFIG)[0]


def row_of(batch: Batch, conclusion: Conclusion) -> dict[str, Any]:
    """The profile as archive has put it into ClickHouse."""
    judged = judgement(tuple(batch.parts.values()), NOW_MS, CUTS, CONFIG)
    fields = snapshot_fields(judged.seen, conclusion, judged.rfm)
    own = {"customer_id": "anna", "rev": 1, "n": batch.last_n, "nodes": sorted(batch.parts), "updated_at": NOW_MS}
    return {**fields, "tags_json": fields["tags"], **own}


def fields(batch: Batch, row: dict[str, Any], state: CustomerState | None = None, now_ms: int = NOW_MS) -> set[str]:
    return {one.field for one in row_differences(batch, row, state, CUTS, now_ms, CONFIG)}


def test_a_profile_that_is_right_has_no_differences() -> None:
    batch = batch_of(purchase(3, traits={"city": "Beijing"}), event(days_ago=1))
    assert fields(batch, row_of(batch, concluded(batch))) == set()


@pytest.mark.parametrize("held", [(), ("promising_first",)])
def test_a_tag_may_be_either_way_between_its_beginning_and_its_end(held: tuple[str, ...]) -> None:
    batch = batch_of(purchase(3, BETWEEN))
    conclusion = concluded(batch, *held)
    assert ("promising_first" in conclusion.tags) is bool(held)
    assert fields(batch, row_of(batch, conclusion)) == set()


def test_beyond_the_band_it_may_not() -> None:
    above, below = batch_of(purchase(3, ABOVE)), batch_of(purchase(3, 100))
    held = concluded(above).tags["promising_first"]
    for batch, tags in (
        (above, {name: tag for name, tag in concluded(above).tags.items() if name != "promising_first"}),
        (below, {**concluded(below).tags, "promising_first": held}),
    ):
        row = row_of(batch, Conclusion(tags, concluded(batch).stage))
        assert fields(batch, row) == {"tag promising_first"}


def test_who_was_not_looked_at_when_time_had_passed_is_found() -> None:
    batch = batch_of(purchase(3))
    row = row_of(batch, concluded(batch))
    judged = judgement(tuple(batch.parts.values()), NOW_MS, CUTS, CONFIG)
    judged.facts.held, judged.facts.stage = concluded(batch).tags, concluded(batch).stage
    due_ms = next_due_ms(judged.facts, CONFIG)
    assert due_ms is not None
    assert fields(batch, row, now_ms=due_ms + LATE_MS) == set()
    assert fields(batch, row, now_ms=due_ms + LATE_MS + 1) == {"looked at (ms)"}


def test_tags_of_other_definitions_are_not_judged() -> None:
    """Redis says by which definitions a customer was judged; who is not judged anew yet is no difference."""
    batch = batch_of(purchase(3))
    row = row_of(batch, Conclusion({"of_yesterday": TagState(1, "", "gone from the file")}, "repeat"))
    state = CustomerState(1, 1, dict(batch.parts), Conclusion({}, "repeat", 0, "other definitions"))
    assert fields(batch, row, state) == set()
    assert fields(batch, row) >= {"stage", "tag of_yesterday"}


def test_every_field_of_a_part_is_compared() -> None:
    batch = batch_of(purchase(3, order_id="o1"), event(days_ago=1))
    conclusion = concluded(batch)
    row, raw = row_of(batch, conclusion), msgspec.msgpack.encode(batch.parts["n:1"])
    whole = msgspec.msgpack.decode(raw, type=Part)
    assert state_differences(batch, CustomerState(1, 1, {"n:1": whole}, conclusion), row) == []
    for name in Part.__struct_fields__:
        part = msgspec.msgpack.decode(raw, type=Part)
        setattr(part, name, "changed by hand")
        (found, *_) = state_differences(batch, CustomerState(1, 1, {"n:1": part}, conclusion), row)
        assert found.field.startswith(f"part n:1: {name}")


def test_who_could_not_be_judged_is_no_proof_of_anything(capsys: pytest.CaptureFixture[str]) -> None:
    """Archive stands still: everybody who differs stays in between, and "all equal" would be a lie."""
    somebody = Difference("anna", "events", "clickhouse", 1, 2)
    reports = [Report(customers=3), Report(customers=3, unjudged=1), Report(customers=3, unjudged=1)]
    reports[-1].differences.append(somebody)
    assert [exit_code(report) for report in reports] == [0, 2, 1]
    assert [as_json(report, 1)["equal"] for report in reports] == [True, False, False]
    for report in reports:
        show(report, 1)
    told = capsys.readouterr().out
    assert told.count("all equal") == 1
    assert "not everybody was judged: 3 customers, 0 events in 1.0 s; 1 were on the move and are not judged" in told
    assert "1 customers differ: 3 customers" in told
