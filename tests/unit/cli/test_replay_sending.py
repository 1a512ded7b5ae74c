"""Sending: every line gets its verdict, a lost answer is asked for again, the journal is a prefix of the file."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event

import httpx
import msgspec
import pytest

from cli.replay import sender as sender_module
from cli.replay.batches import Batch, make_batches, pass_through
from cli.replay.files import FileRefused, Record
from cli.replay.journal import Journal, JournalFile
from cli.replay.order import assert_in_order
from cli.replay.report import as_json, verdict
from cli.replay.run import IN_FLIGHT_BATCHES, Pace, Replay
from cli.replay.sender import Interrupted, Sender
from cli.replay.tally import Tally, Verdicts
from services.chassis.errors import Fatal

Answer = Callable[[list[dict[str, object]]], httpx.Response]


class Ingest:
    """An import endpoint in memory: refuses events named "bad", remarks "odd", answers with what is scripted first."""

    def __init__(self, *script: httpx.Response | Exception, most: int = 10_000) -> None:
        self.script = list(script)
        self.bodies: list[list[str]] = []
        self.most = most
        self.gate: Callable[[], Awaitable[object]] | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/import"
        assert request.headers["authorization"] == "Basic bG9jYWw6"
        lines = request.content.split(b"\n")
        self.bodies.append([line.decode() for line in lines])
        if self.gate is not None:
            await self.gate()
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if len(lines) > self.most:
            return httpx.Response(413, json={"code": "body_too_large", "message": "too large", "errors": []})
        if lines[0].startswith(b"{broken"):
            return httpx.Response(400, json={"code": "json_malformed", "message": "no JSON", "errors": []})
        return self.judge([json.loads(line)["event"] for line in lines])

    @staticmethod
    def judge(names: list[str]) -> httpx.Response:
        error = [{"rule": "identifier_missing", "field": "userId", "message": "nobody"}]
        remark = [{"rule": "email_invalid", "field": "traits.email", "message": "odd"}]
        events = [
            {"index": i, "messageId": "", "accepted": name != "bad", "errors" if name == "bad" else "remarks": found}
            for i, name in enumerate(names)
            if (found := {"bad": error, "odd": remark}.get(name))
        ]
        refused = names.count("bad")
        body = {"accepted": len(names) - refused, "rejected": refused, "events": events, "code": "batch_refused"}
        return httpx.Response(400 if refused == len(names) else 200, json=body)


def batch_of(*names: str, start: int = 2) -> Batch:
    messages = [msgspec.json.encode({"event": name, "messageId": f"m{n}"}) for n, name in enumerate(names, start)]
    return Batch(0, len(names), messages, list(range(start, start + len(names))))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "FIRST_PAUSE_S", 0.001)


async def send(ingest: Ingest, batch: Batch, stop: Event | None = None) -> Verdicts:
    async with httpx.AsyncClient(transport=httpx.MockTransport(ingest)) as client:
        return await Sender(client, "http://ingest.test/", "local", stop or Event()).send(batch)


async def test_every_line_gets_its_verdict() -> None:
    verdicts = await send(Ingest(), batch_of("ok", "bad", "odd", "ok"))
    assert verdicts == Verdicts(3, [("identifier_missing", 3, "nobody")], [("email_invalid", 4, "odd")])


async def test_a_batch_that_is_refused_whole_has_verdicts_too() -> None:
    verdicts = await send(Ingest(), batch_of("bad", "bad"))
    assert (verdicts.accepted, [line for _, line, _ in verdicts.refused]) == (0, [2, 3])


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.Response(503, headers={"Retry-After": "0"}, json={"code": "overloaded"}),
        httpx.Response(429, json={"code": "rate_limited"}),
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.ReadTimeout("no answer"),
        httpx.ConnectError("refused"),
    ],
)
async def test_a_lost_answer_is_asked_for_again_with_the_same_message_ids(trouble: httpx.Response | Exception) -> None:
    ingest = Ingest(trouble, trouble)
    assert (await send(ingest, batch_of("ok", "ok"))).accepted == 2
    assert len(ingest.bodies) == 3
    assert ingest.bodies[0] == ingest.bodies[1] == ingest.bodies[2]


async def test_retry_after_is_waited_for() -> None:
    began = asyncio.get_running_loop().time()
    await send(Ingest(httpx.Response(429, headers={"Retry-After": "1"}, json={})), batch_of("ok"))
    assert asyncio.get_running_loop().time() - began >= 0.99


async def test_a_body_too_large_for_the_server_is_sent_in_halves() -> None:
    ingest = Ingest(most=2)
    verdicts = await send(ingest, batch_of("ok", "bad", "ok", "ok", "bad"))
    assert (verdicts.accepted, [line for _, line, _ in verdicts.refused]) == (3, [3, 6])


async def test_one_message_too_large_is_refused_by_itself() -> None:
    verdicts = await send(Ingest(most=0), batch_of("ok"))
    assert verdicts.refused == [("body_too_large", 2, "too large")]


async def test_lines_that_are_no_json_are_refused_one_by_one() -> None:
    records = iter([Record(1, b"{broken"), Record(2, b'{"event":"ok"}'), Record(3, b"{broken too")])
    (batch,) = make_batches(records, pass_through("f"))
    verdicts = await send(Ingest(), batch)
    assert (verdicts.accepted, verdicts.refused) == (
        1, [("json_malformed", 1, "no JSON"), ("json_malformed", 3, "no JSON")],
    )  # fmt: skip


@pytest.mark.parametrize("status", [401, 404, 302])
async def test_what_sending_again_cannot_mend_ends_it(status: int) -> None:
    with pytest.raises(Fatal, match=str(status)):
        await send(Ingest(httpx.Response(status, json={"code": "write_key_unknown"})), batch_of("ok"))


async def test_an_answer_that_does_not_add_up_is_not_believed() -> None:
    with pytest.raises(Fatal, match="does not add up"):
        await send(Ingest(httpx.Response(200, json={"accepted": 1, "rejected": 0, "events": []})), batch_of("ok", "ok"))


async def test_patience_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "PATIENCE_S", 0.05)
    with pytest.raises(Fatal, match="the same command resumes"):
        await send(Ingest(*[httpx.ConnectError("refused")] * 10_000), batch_of("ok"))


async def test_a_stop_does_not_wait_for_a_server_that_is_away() -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Interrupted):
        await send(Ingest(httpx.ConnectError("refused")), batch_of("ok"), stop)


class Run:
    """A replay of `count` lines against an Ingest, on a journal in a folder."""

    def __init__(self, folder: Path, count: int, per_batch: int = 10) -> None:
        self.file = JournalFile(folder, "f00d", b"mapping", "http://ingest.test", "local")
        self.stop = Event()
        self.count, self.per_batch = count, per_batch

    async def go(self, ingest: Ingest) -> tuple[bool, Journal]:
        journal = self.file.load() or Journal("x.csv", "http://ingest.test", Tally(), 1)
        names = ["bad" if n % 7 == 0 else "ok" for n in range(self.count)]
        records = (Record(n + 2, msgspec.json.encode({"event": name})) for n, name in enumerate(names))
        batches = make_batches(records, pass_through("f00d"), journal.tally.records, self.per_batch)
        async with httpx.AsyncClient(transport=httpx.MockTransport(ingest)) as client:
            sender = Sender(client, "http://ingest.test", "local", self.stop)
            replay = Replay(sender, journal, self.file, Pace(0), self.stop, lambda: None)
            return await replay.run(batches), journal


async def test_the_books_cover_the_whole_file(tmp_path: Path) -> None:
    done, journal = await Run(tmp_path, 95).go(Ingest())
    journal.finished_at = 5
    assert done
    assert (journal.tally.records, journal.tally.accepted, journal.tally.sent) == (95, 81, 95)
    assert journal.tally.refused["identifier_missing"].lines == [2, 9, 16, 23, 30]
    assert verdict(journal) == "every line is accounted for"
    assert as_json(journal)["complete"] is True


async def test_no_more_than_a_bounded_number_of_batches_is_under_way(tmp_path: Path) -> None:
    ingest, now, most = Ingest(), 0, 0

    async def gate() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(5):
            await asyncio.sleep(0)
        now -= 1

    ingest.gate = gate
    await Run(tmp_path, 300).go(ingest)
    assert 1 < most <= IN_FLIGHT_BATCHES


async def test_after_a_failure_only_what_has_no_verdict_is_sent_again(tmp_path: Path) -> None:
    run = Run(tmp_path, 100)
    broken = Ingest()
    answers = iter([None] * 3 + [httpx.Response(401, json={})] * 50)

    async def gate() -> None:
        answer = next(answers)
        if answer is not None:
            broken.script.append(answer)

    broken.gate = gate
    with pytest.raises(Fatal):
        await run.go(broken)
    kept = run.file.load()
    assert kept is not None
    assert kept.tally.records == 30
    assert verdict(kept) == "not finished: the same command goes on from here"
    whole = Ingest()
    done, journal = await run.go(whole)
    assert done
    assert (journal.tally.records, journal.tally.accepted) == (100, 85)
    assert json.loads(whole.bodies[0][0])["messageId"] == "f00d-32"
    assert sum(len(body) for body in whole.bodies) == 70


async def test_a_stop_keeps_what_was_answered(tmp_path: Path) -> None:
    run = Run(tmp_path, 1_000)
    ingest = Ingest()

    async def gate() -> None:
        if len(ingest.bodies) == 20:
            run.stop.set()

    ingest.gate = gate
    done, journal = await run.go(ingest)
    assert not done
    assert journal.tally.records == sum(len(body) for body in ingest.bodies) < 1_000
    assert run.file.load() == journal


def test_a_journal_belongs_to_file_mapping_destination_and_source(tmp_path: Path) -> None:
    files = {
        JournalFile(tmp_path, *parts).path
        for parts in [
            ("f", b"m", "u", "k"), ("g", b"m", "u", "k"), ("f", b"n", "u", "k"), ("f", b"m", "v", "k"),
            ("f", b"m", "u", "l"), ("f", b"", "um", "k"),
        ]
    }  # fmt: skip
    assert len(files) == 6


def test_two_replays_of_one_file_at_once_are_refused(tmp_path: Path) -> None:
    file = JournalFile(tmp_path, "f", b"m", "u", "k")
    with file.locked(), pytest.raises(Fatal, match="another process"), file.locked():
        pass


async def test_a_page_with_status_200_is_no_verdict_about_the_lines() -> None:
    ingest = Ingest(httpx.Response(200, text="<html>please sign in</html>"))
    with pytest.raises(Fatal, match="please sign in"):
        await send(ingest, batch_of("ok", "ok"))
    assert len(ingest.bodies) == 1


async def test_history_with_its_own_clock_goes_to_a_path_of_its_own() -> None:
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return Ingest.judge(["good"])

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        await Sender(client, "http://ingest", "local", Event(), "/v1/import/lived").send(Batch(0, 1, [b"{}"], [1]))
    assert asked == ["/v1/import/lived"]


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        (["2011-03-01T08:00:00Z", "2011-03-01T08:00:00Z", "2011-03-02"], ""),
        (["2011-03-01T08:00:00Z", "2011-03-01T07:59:00Z"], "line 2 is 60 s earlier than line 1"),
        (["2011-03-01T08:00:00Z", None], "line 2: --clock event needs a time"),
    ],
)
def test_a_file_with_a_clock_of_its_own_is_in_order_or_refused(times: list[str | None], problem: str) -> None:
    messages = [json.dumps({"timestamp": at} if at else {}).encode() for at in times]
    batches = [Batch(0, len(messages), messages, list(range(1, len(messages) + 1)))]
    if not problem:
        assert_in_order(iter(batches))
        return
    with pytest.raises(FileRefused, match=problem):
        assert_in_order(iter(batches))
