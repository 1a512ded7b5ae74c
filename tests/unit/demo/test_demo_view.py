"""What people see: the live picture, the plain lines and the summary."""

import io
import re
import shlex

import pytest
from rich.console import Console

from cli.demo.guide import example, places, try_next
from cli.demo.reconcile import Check, reconcile
from cli.demo.screen import Screen, what
from cli.demo.summary import Report, Timing, show
from cli.demo.watch import Item
from cli.main import app
from deploy.local.settings import local_settings
from tests.unit.demo.demo_builders import books, event, facts_of, node

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
EVENTS = [
    event("e1", "user_id:a", "phone:+8613900000001", "anonymous_id:1"),
    event("e2", "user_id:a", order=("o1", 12_345)),
]


def console(width: int = 110, is_terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=is_terminal)


def text_of(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def report(restarts: dict[str, int] | None = None, extra: tuple[Check, ...] = ()) -> Report:
    written, facts, settings = books(*EVENTS), facts_of({"A": EVENTS}, merged=["B"]), local_settings({})
    written.refused["event_missing"] += 2
    checks = [*reconcile(written, written.accounts(), facts, node, []), *extra]
    return Report(
        3, 42, Timing(12.3, 20.1, 3.2), written, facts, checks,
        places(settings, "http://127.0.0.1:8080", "http://127.0.0.1:9115/sink", {"ingest": "http://127.0.0.1:9101/metrics"}),
        try_next(example(written.accounts()), settings, "http://127.0.0.1:8080", stays=False),
        restarts or {}, [],
    )  # fmt: skip


def item(**more: str) -> Item:
    fields = {"rule": "welcome", "channel": "email", "destination": "mail:w***@example.com", "template": "first_order"}
    return Item(1, 1_790_000_000_000, 210, **({**fields, "subject": "", "text": ""} | more))


def test_the_summary_tells_what_was_played_and_that_it_adds_up() -> None:
    out = console()
    show(report(), out)
    text = text_of(out)
    for line in (
        "run 3 · seed 42", "event_missing", "¥123.45 of net revenue", "Everything adds up.", "p99 200 ms", "newcomer",
        "http://127.0.0.1:8080", "ingest 9101", "customer show phone:+8613900000001",
    ):  # fmt: skip
        assert line in text, text
    assert not CONTROL.search(text)


@pytest.mark.parametrize("width", [50, 60, 80, 96, 110, 200])
def test_nothing_of_the_summary_is_cut_off_at_any_width(width: int) -> None:
    told = report()
    long = "a_reason_that_nobody_would_give_but_somebody_has"
    told.books.refused[long] += 1_234_567
    told.facts.triggers.append({"rule": "a-rule-named-by-somebody-with-time-and-a-wide-screen"})
    out = console(width)
    show(told, out)
    text = text_of(out).partition("Where things are")[0]
    assert "…" not in text
    assert "1,234,567" in text
    assert all(len(line) <= width for line in text.splitlines())
    together = "".join(text.split())
    assert long in together or width < 80


def test_what_differs_is_printed_with_its_examples_and_restarts_are_named() -> None:
    out = console()
    failed = report({"ingest": 1, "profile": 2}, (Check("nothing else", ("1 events more: e7",)),))
    assert not failed.holds
    show(failed, out)
    text = text_of(out)
    assert "It does not add up." in text
    assert "1 events more: e7" in text
    assert "started again: ingest, profile (2×)." in text


def test_a_command_is_printed_whole_however_narrow_the_terminal_is() -> None:
    out = console(40)
    show(report(), out)
    lines = text_of(out).splitlines()
    (order,) = [line for line in lines if "curl -u local:" in line]
    assert shlex.split(order)[-1].startswith('{"userId":"a"')


def test_every_command_to_try_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.name for group in app.registered_groups if group.name}
    for stays in (True, False):
        accounts = books(*EVENTS).accounts()
        for _, command in try_next(example(accounts), local_settings({}), "http://127.0.0.1:8080", stays):
            for part in re.findall(r"touchstream (\S+)", command):
                assert part in known


def test_without_a_terminal_progress_is_plain_lines() -> None:
    screen = Screen(console())
    with screen.shown():
        screen.stage("the shop is open", 100)
        screen.progress.done = screen.progress.sent = 50
        screen.progress.seen.latest.append(item(subject="Welcome"))
        screen.moved(is_new=True)
        screen.say("identity ended with -9")
    text = text_of(screen.console)
    assert "the shop is open 50 of 100" in text
    assert "latest: welcome → email w***@example.com “Welcome” after 0.21 s" in text
    assert not CONTROL.search(text)


def test_on_a_terminal_there_is_one_picture_that_goes_away() -> None:
    screen = Screen(console(is_terminal=True))
    with screen.shown():
        screen.stage("the shop is open", 100)
        screen.progress.sent = 50
        screen.progress.seen.latest.append(item(text="**客户 30 天未登录**\n> more"))
    text = text_of(screen.console)
    assert "客户 30 天未登录" in text
    assert text.endswith("\x1b[2K")


def test_the_gist_of_a_delivery_is_its_subject_its_first_words_or_its_template() -> None:
    assert what(item(subject="Welcome", text="Hello")) == "Welcome"
    assert what(item(text="# Hello there\nmore")) == "Hello there"
    assert what(item(text='{"title": "x"}')) == "first order"
    assert len(what(item(subject="x" * 99))) == 32
