"""Batches to ingest's import endpoint: sent again until there is a verdict for every line of them."""

import asyncio
import random
import time
from collections.abc import Sequence
from threading import Event

import httpx
import msgspec

from cli.replay.batches import Batch
from cli.replay.tally import Verdicts
from services.chassis.errors import Fatal

# ingest answers or says 503 after its own 10 s; a body takes a moment more.
TIMEOUT_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
# Longer than a restart of everything takes. What is not acknowledged by then is sent by the next run.
PATIENCE_S = 300.0
RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})
IMPORT = "/v1/import"
CONTENT_TYPE = "application/x-ndjson"


class Interrupted(Exception):  # noqa: N818
    """The operator asked to stop while a batch had no answer yet."""


class _Error(msgspec.Struct):
    rule: str = ""
    message: str = ""


class _Event(msgspec.Struct):
    index: int
    accepted: bool
    errors: list[_Error] = []
    remarks: list[_Error] = []


class _Answer(msgspec.Struct):
    """200, or 400 when every event was refused; without `events` the body itself was refused."""

    code: str = ""
    message: str = ""
    accepted: int = 0
    rejected: int = 0
    errors: list[_Error] = []
    events: list[_Event] | None = None


class Sender:
    """One destination. Safe to use for several batches at once on one event loop."""

    def __init__(self, client: httpx.AsyncClient, url: str, write_key: str, stop: Event, path: str = IMPORT) -> None:
        self._client = client
        self._url = f"{url.rstrip('/')}{path}"
        self._auth = httpx.BasicAuth(write_key, "")
        self._stop = stop
        self._answered_s = time.monotonic()
        # Why the last attempt failed, for the display; empty while all is well.
        self.trouble = ""
        self.repeats = 0

    async def send(self, batch: Batch) -> Verdicts:
        """Verdicts for every message. Raises Fatal when sending again cannot help, Interrupted when asked to stop."""
        verdicts = Verdicts()
        if batch.messages:
            verdicts.add(await self._send(batch.messages, batch.lines))
        for raw, line in batch.malformed:
            verdicts.add(await self._send([raw], [line]))
        return verdicts

    async def _send(self, messages: Sequence[bytes], lines: Sequence[int]) -> Verdicts:
        response = await self._post(b"\n".join(messages))
        if response.status_code in (200, 400):
            answer = _read(response)
            if answer.events is not None:
                return _verdicts(answer, lines)
            if response.status_code == 200:
                raise Fatal(f"{self._url} answered 200, but not as ingest does: {response.text[:200]}")
        elif response.status_code != 413:
            raise Fatal(f"{self._url} answered {response.status_code}: {response.text[:500]}")
        # Refused as a whole: too large for this server, or one message spoils the others. Halves find out which.
        if len(messages) > 1:
            middle = len(messages) // 2
            verdicts = await self._send(messages[:middle], lines[:middle])
            verdicts.add(await self._send(messages[middle:], lines[middle:]))
            return verdicts
        answer = _read(response)
        return Verdicts(0, [(answer.code, lines[0], answer.message)])

    async def _post(self, body: bytes) -> httpx.Response:
        pause_s = FIRST_PAUSE_S
        while True:
            asked_s: float | None = None
            try:
                response = await self._client.post(
                    self._url, content=body, headers={"Content-Type": CONTENT_TYPE}, auth=self._auth
                )
            except httpx.TransportError as error:
                self.trouble = f"{type(error).__name__} {error}".strip()
            else:
                if response.status_code not in RETRY:
                    self._answered_s, self.trouble = time.monotonic(), ""
                    return response
                asked_s = _retry_after_s(response)
                self.trouble = f"{response.status_code} {_read(response).code}".strip()
            self.repeats += 1
            if time.monotonic() - self._answered_s > PATIENCE_S:
                raise Fatal(f"{self._url}: no answer for {PATIENCE_S:.0f} s ({self.trouble}); the same command resumes")
            # Jitter, or batches that failed together would come again together.
            await self._wait(max(asked_s or 0.0, pause_s * random.uniform(0.5, 1.0)))
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _wait(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            if self._stop.is_set():
                raise Interrupted
            await asyncio.sleep(min(0.1, left_s))


def _retry_after_s(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), 60.0) if text.isdecimal() else None


def _read(response: httpx.Response) -> _Answer:
    try:
        return msgspec.json.decode(response.content, type=_Answer)
    except msgspec.DecodeError:
        return _Answer(code=f"http_{response.status_code}", message=response.text[:200])


def _verdicts(answer: _Answer, lines: Sequence[int]) -> Verdicts:
    verdicts = Verdicts(answer.accepted)
    for event in answer.events or []:
        found, kept = (event.remarks, verdicts.remarked) if event.accepted else (event.errors, verdicts.refused)
        # The first is the one that refuses; a line has one reason, or the sums would not meet.
        kept += [(each.rule, lines[event.index], each.message) for each in found[:1]]
    if answer.accepted + answer.rejected != len(lines) or len(verdicts.refused) != answer.rejected:
        raise Fatal(
            f"ingest's answer does not add up: {len(lines)} messages sent, {answer.accepted} accepted,"
            f" {answer.rejected} refused, reasons for {len(verdicts.refused)}"
        )
    return verdicts
