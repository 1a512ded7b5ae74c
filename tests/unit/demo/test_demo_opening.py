"""Which run is played: an interrupted one goes on where nothing of it can have been lost, else a new one begins."""

from pathlib import Path
from typing import cast

import pytest

from cli.demo import journal as journals
from cli.demo.books import write_books
from cli.demo.journal import Journal
from cli.demo.opening import Opener, Options
from cli.demo.plan import make_plan
from services.chassis.clickhouse import Clickhouse
from services.chassis.clock import now_ms
from services.chassis.run import Stop

ASKED = Options(events=None, seed=None, rate=100.0)


class House:
    """A ClickHouse that knows how many events of the run it has, and the number of the last run."""

    def __init__(self, arrived: int = 0, run: int = 0) -> None:
        self.row = {"arrived": arrived, "run": run}

    def query_rows(self, sql: str, params: object = None) -> list[dict[str, int]]:
        return [self.row]


@pytest.fixture
def interrupted(tmp_path: Path) -> Journal:
    """A run of which three batches were answered, on disk."""
    journal = Journal(4, "tok", 9, 500, now_ms() - 60_000)
    plan = make_plan(4, "tok", 9, 500)
    for batch in plan.batches[:3]:
        journal.answered.append([(n, event.fault) for n, event in enumerate(batch.events) if event.fault])
    journals.save(tmp_path, journal)
    return journal


def arrived(journal: Journal) -> int:
    plan = make_plan(journal.run, journal.token, journal.seed, journal.events)
    return len(write_books(plan.batches, journal.answered).accepted)


def open_with(folder: Path, house: House, options: Options = ASKED, was_drained: bool = True) -> tuple[Journal, str]:
    said: list[str] = []
    opener = Opener(cast(Clickhouse, house), folder, was_drained, Stop(), said.append)
    return opener.open(options), "\n".join(said)


def test_the_first_run_is_number_1_and_its_seed_is_its_number(tmp_path: Path) -> None:
    journal, said = open_with(tmp_path, House())
    assert (journal.run, journal.seed, journal.answered, said) == (1, 1, [], "")
    assert journals.load(tmp_path) == journal


def test_a_journal_that_was_deleted_does_not_make_two_runs_one(tmp_path: Path) -> None:
    assert open_with(tmp_path, House(run=7))[0].run == 8


def test_an_interrupted_run_goes_on(tmp_path: Path, interrupted: Journal) -> None:
    journal, said = open_with(tmp_path, House(arrived(interrupted) + 20))
    assert journal.answered == interrupted.answered
    assert (journal.run, journal.token, journal.parts) == (4, "tok", 2)
    assert "Going on with run 4: 3 of its batches" in said


def test_options_that_name_the_same_play_go_on_with_it(tmp_path: Path, interrupted: Journal) -> None:
    assert open_with(tmp_path, House(arrived(interrupted)), Options(500, 9, 50.0))[0].run == 4


@pytest.mark.parametrize(
    ("options", "was_drained", "why"),
    [
        (Options(None, 10, 100.0), True, "other options are asked for now"),
        (Options(600, None, 100.0), True, "other options are asked for now"),
        (ASKED, False, "the stack was killed"),
    ],
)
def test_otherwise_a_new_run_begins_and_says_why(
    tmp_path: Path, interrupted: Journal, options: Options, was_drained: bool, why: str
) -> None:
    journal, said = open_with(tmp_path, House(arrived(interrupted)), options, was_drained)
    assert (journal.run, journal.answered) == (5, [])
    assert why in said


def test_a_run_of_yesterday_does_not_go_on(tmp_path: Path, interrupted: Journal) -> None:
    interrupted.base_ms -= journals.CONTINUE_WITHIN_MS
    journals.save(tmp_path, interrupted)
    journal, said = open_with(tmp_path, House(arrived(interrupted)))
    assert journal.run == 5
    assert "too old" in said


def test_a_run_whose_events_are_gone_does_not_go_on(
    tmp_path: Path, interrupted: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.demo.opening.FOUND_AGAIN_S", 0.0)
    monkeypatch.setattr("cli.demo.opening.POLL_S", 0.001)
    journal, said = open_with(tmp_path, House(arrived(interrupted) - 1))
    assert journal.run == 5
    assert "gone with the data" in said


def test_a_finished_run_is_not_played_again(tmp_path: Path, interrupted: Journal) -> None:
    interrupted.is_done = True
    journals.save(tmp_path, interrupted)
    assert open_with(tmp_path, House())[0].run == 5


def test_a_journal_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / journals.FILE).write_bytes(b'{"run": "x"')
    assert journals.load(tmp_path) is None
