"""What verify says in the end: for people, for programs, for Prometheus."""

import io

from rich.console import Console

from cli.verify.model import Check, Difference
from cli.verify.run import Report
from cli.verify.show import as_json, as_textfile, show

EQUAL = Check("a → b", "records", 7, 7, 2, "2 by time")
DIFFERS = Check("b → c", "rows", 7, 4, 0, "", (Difference("rows missing in t", 3, ("b/0 offset 5",), "look there"),))


def test_equal_checks_are_one_table_and_one_sentence() -> None:
    report = Report([EQUAL], ["b/0: from offset 4 on"], 9)
    shown = _shown(report)
    assert report.is_equal
    assert "a → b" in shown
    assert "b/0: from offset 4 on" in shown
    assert "all equal: 9 records" in shown


def test_a_difference_is_named_with_what_to_do() -> None:
    report = Report([EQUAL, DIFFERS], [], 9)
    shown = _shown(report)
    assert not report.is_equal
    assert "b → c: 3 rows missing in t" in shown
    assert "  b/0 offset 5\n  … and 2 more\n  do: look there" in shown
    assert "1 kinds of difference" in shown
    found = as_json(report, 1.234)
    assert found["equal"] is False
    assert found["seconds"] == 1.2
    first, second = found["hops"]  # type: ignore[misc]
    assert (first["equal"], second["equal"]) == (True, False)
    assert second["differences"][0]["examples"] == ("b/0 offset 5",)


def test_prometheus_gets_a_count_per_hop_and_whether_all_was_seen() -> None:
    lines = as_textfile(Report([EQUAL, DIFFERS, DIFFERS], [], 9), 1_750_000_000.4).splitlines()
    assert 'touchstream_verify_differences{hop="a → b"} 0' in lines
    assert 'touchstream_verify_differences{hop="b → c"} 6' in lines
    assert "touchstream_verify_blind 0" in lines
    assert "touchstream_verify_finished_timestamp_seconds 1750000000" in lines
    assert "touchstream_verify_blind 1" in as_textfile(None, 0).splitlines()
    assert "differences{" not in as_textfile(None, 0)


def _shown(report: Report) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    show(report, 1.0, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
