"""Sends a seed's messages to ingest as SDKs do: in batches, again after an error, sometimes again after a lost 200."""

import base64
import json
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from random import Random
from urllib.parse import urlsplit

from tests.chaos.rig.journal import Journal
from tests.chaos.rig.messages import GARBAGE, Message
from tests.chaos.rig.scenes import SCENES, Author, Line

SENDERS = 4
BATCH_MAX = 40
# How long a sender goes on with one request before it gives up and nobody knows.
PATIENCE_S = 90.0
RETRY_PAUSE_S = 0.25
TIMEOUT_S = 12.0
AUTHORIZATION = "Basic " + base64.b64encode(b"local:").decode()


@dataclass(frozen=True, slots=True)
class Manners:
    """How senders behave, as shares of requests: sent again after the 200; sent twice at once; hasty ones wait only
    `haste_s` for an answer; of those that failed, `gives_up` are not sent again. `garbage`: share of messages."""

    resend: float = 0.08
    twin: float = 0.08
    hasty: float = 0.05
    haste_s: float = 0.05
    gives_up: float = 0.2
    garbage: float = 0.01


class Plan:
    """Everything that will be sent for a seed. `free`: batches in any order; `lines`: messages strictly in order."""

    def __init__(self, seed: int, prefix: str, scenes: Mapping[str, int], now_ms: int, manners: Manners) -> None:
        author = Author(prefix, seed, now_ms)
        lines: list[Line] = [
            line for name, count in scenes.items() for _ in range(count) for line in SCENES[name](author)
        ]
        self.prefix, self.manners, self.seed = prefix, manners, seed
        self.lines = [line for line in lines if len(line) > 1]
        free = [line[0] for line in lines if len(line) == 1]
        free += [author.garbage() for _ in range(max(2, round(manners.garbage * len(lines))))]
        author.random.shuffle(free)
        self.batches: list[list[Message]] = []
        while free:
            size = author.random.choice((1, 1, 3, 10, BATCH_MAX))
            self.batches.append(free[:size])
            free = free[size:]
        self.messages = {m.event_id: m for group in [*self.batches, *self.lines] for m in group}


class Workload:
    """start(), then `is_done`; every attempt is in the journal. Threads of its own; stop() makes them give up."""

    def __init__(self, plan: Plan, journal: Journal, urls: Sequence[str], duration_s: float) -> None:
        self._plan, self._journal, self._urls = plan, journal, list(urls)
        self._jobs: queue.SimpleQueue[tuple[float, list[list[Message]]]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._random = Random(plan.seed * 7 + 1)
        jobs: list[list[list[Message]]] = [[batch] for batch in plan.batches]
        jobs += [[[message] for message in line] for line in plan.lines]
        self._random.shuffle(jobs)
        self.total = len(jobs)
        for i, job in enumerate(jobs):
            self._jobs.put((duration_s * i / len(jobs), job))
        self._threads = [
            threading.Thread(target=self._send, args=(Random(plan.seed * 31 + n),), daemon=True) for n in range(SENDERS)
        ]
        self._begun_s = 0.0

    def start(self) -> None:
        """Begin to send."""
        self._begun_s = time.monotonic()
        for thread in self._threads:
            thread.start()

    @property
    def is_done(self) -> bool:
        """Every message was sent and answered, or given up."""
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Give up what is not answered."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S + 1)

    def _send(self, random: Random) -> None:
        while not self._stopped.is_set():
            try:
                due_s, job = self._jobs.get_nowait()
            except queue.Empty:
                return
            self._stopped.wait(max(0.0, self._begun_s + due_s - time.monotonic()))
            for batch in job:
                if not self._request(batch, random, is_ordered=len(job) > 1):
                    break  # an unanswered one ends its line: what comes later might overtake it

    def _request(self, batch: list[Message], random: Random, is_ordered: bool) -> bool:
        """One request until it is answered or given up; True when it was answered."""
        manners, deadline = self._plan.manners, time.monotonic() + PATIENCE_S
        twin = None
        if not is_ordered and random.random() < manners.twin:
            twin = threading.Thread(target=self._attempt, args=(batch, random.choice(self._urls), TIMEOUT_S))
            twin.start()
        timeout_s = manners.haste_s if not is_ordered and random.random() < manners.hasty else TIMEOUT_S
        while not (answered := self._attempt(batch, random.choice(self._urls), timeout_s)):
            gives_up = not is_ordered and random.random() < manners.gives_up
            if gives_up or self._stopped.is_set() or time.monotonic() > deadline:
                break
            timeout_s = TIMEOUT_S
            self._stopped.wait(RETRY_PAUSE_S)
        if answered and random.random() < manners.resend:
            self._attempt(batch, random.choice(self._urls), TIMEOUT_S)
        if twin is not None:
            twin.join()
        return answered

    def _attempt(self, batch: list[Message], url: str, timeout_s: float) -> bool:
        request = f"{batch[0].event_id}+{len(batch)}@{time.monotonic():.4f}"
        events = [message.event_id for message in batch]
        self._journal.sending(request, url, events)
        body = json.dumps({"batch": [message.wire() for message in batch]}).encode()
        try:
            status, text = _post(url + "/v1/batch", body, timeout_s)
        except (OSError, HTTPException) as error:
            self._journal.unanswered(request, f"{type(error).__name__}: {error}")
            return False
        if status not in (200, 400):
            self._journal.unanswered(request, f"{status}: {text[:200]!r}")
            return False
        refused = {events[item["index"]] for item in json.loads(text)["events"] if not item["accepted"]}
        self._journal.answered(request, [event for event in events if event not in refused], refused)
        return True


def expected_refusals(plan: Plan) -> set[str]:
    """What ingest has to refuse."""
    return {message.event_id for message in plan.messages.values() if message.what == GARBAGE}


def _post(url: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        headers = {"Authorization": AUTHORIZATION, "Content-Type": "application/json"}
        connection.request("POST", parts.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
