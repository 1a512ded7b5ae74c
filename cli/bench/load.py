"""Open-loop HTTP load: requests leave when they are due, whatever became of the ones before."""

import base64
import http.client
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.chassis.errors import Fatal

CONNECTIONS = 8
RETRY_S = 0.2
# A request is repeated this long. Longer than a killed service needs to be started again; a target that always refuses
# must end the run.
GIVE_UP_S = 60.0


class LoadError(Fatal):
    """A request was refused for so long that nothing measured after it would mean anything."""


@dataclass(slots=True)
class Sent:
    """What the senders saw. `late_s`: how far behind its due time the latest request left."""

    statuses: Counter[int] = field(default_factory=Counter)
    retries: int = 0
    started_s: float = 0.0
    ended_s: float = 0.0
    late_s: float = 0.0


def send(
    url: str,
    write_key: str,
    bodies: Sequence[bytes],
    every_s: float,
    path: str = "/v1/batch",
    start_s: float = 0.0,
    give_up_s: float = GIVE_UP_S,
) -> Sent:
    """Post body i at start_s (0: now) + i × every_s on CONNECTIONS connections; returns when all have a 200.

    Anything but 200 is sent again with the same message ids, as an SDK would. Raises LoadError when one request had no
    200 for `give_up_s`.
    """
    refused: list[str] = []
    sent, lock, following = Sent(started_s=start_s or time.time()), threading.Lock(), iter(range(len(bodies)))
    host = url.removeprefix("http://")
    headers = {
        "Authorization": "Basic " + base64.b64encode(f"{write_key}:".encode()).decode(),
        "Content-Type": "application/json",
    }

    def work() -> None:
        connection = http.client.HTTPConnection(host, timeout=30)
        while True:
            with lock:
                i = next(following, None)
            if i is None or refused:
                return
            due_s = sent.started_s + i * every_s
            while (wait_s := due_s - time.time()) > 0:
                time.sleep(wait_s)
            began_s = time.time()
            while (status := _post(connection, path, bodies[i], headers)) != 200:
                with lock:
                    sent.statuses[status] += 1
                    sent.retries += 1
                if refused or time.time() - began_s > give_up_s:
                    refused.append(f"request {i} of {len(bodies)}: {_said(status)}")
                    return
                time.sleep(RETRY_S)
            with lock:
                sent.statuses[200] += 1
                sent.late_s = max(sent.late_s, began_s - due_s)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise LoadError(
            f"POST {url}{path} had no 200 for {give_up_s:g} s ({refused[0]}): see the log of what listens there"
        )
    sent.ended_s = time.time()
    return sent


def _said(status: int) -> str:
    return f"the last answer was {status}" if status else "no answer"


def _post(connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> int:
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0
