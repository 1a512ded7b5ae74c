"""Refused events to ingest once more, in small batches, with a verdict for each."""

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from cli.http import uses_proxies
from cli.mend import IMPORTS, Ready
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal, Retriable
from services.chassis.settings import SettingsError, load_settings
from services.ingest.settings import IngestSettings
from services.ingest.write_keys import load_keyring

TIMEOUT_S = 30.0
# Well below what a batch may have, also at a server with smaller limits.
BATCH_EVENTS, BATCH_BYTES = 100, 300_000
ATTEMPTS, LONGEST_PAUSE_S = 8, 10.0
RETRY = frozenset({408, 429, 500, 502, 503, 504})
ACCEPTED, REFUSED = "accepted", "refused again"


def source_of_key(write_key: str) -> str | None:
    """The source that a write key acts for, by this machine's write-keys file; None when the file does not know it."""
    try:
        found = load_keyring(load_settings(IngestSettings).write_keys).source_of(write_key, now_ms())
    except SettingsError:
        return None
    return found.name if found else None


class SendAgain:
    """One destination. Leaving it closes the connections, unless they are the `client` that was given."""

    def __init__(self, url: str, write_key: str, client: httpx.Client | None = None) -> None:
        self._client = client or httpx.Client(timeout=TIMEOUT_S, trust_env=uses_proxies(url))
        self._is_own = client is None
        self._url, self._auth = url.rstrip("/"), httpx.BasicAuth(write_key, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_own:
            self._client.close()

    def send(self, ready: Mapping[str, Ready]) -> Iterator[dict[str, str]]:
        """Send all; yields outcomes by id, a batch at a time, so that they can be written down at once.

        Raises Fatal when ingest will not have them from us, Retriable when it does not answer; what was yielded stands.
        """
        group: dict[str, Ready] = {}
        size = 0
        for name, one in ready.items():
            if one.is_whole:
                yield {name: ACCEPTED if self._post(one.endpoint, one.body).status_code == 200 else REFUSED}
                continue
            former = next(iter(group.values())).endpoint if group else one.endpoint
            if former != one.endpoint or len(group) >= BATCH_EVENTS or size + len(one.body) > BATCH_BYTES:
                yield self._send(group)
                group, size = {}, 0
            group[name] = one
            size += len(one.body)
        if group:
            yield self._send(group)

    def _send(self, group: Mapping[str, Ready]) -> dict[str, str]:
        endpoint = next(iter(group.values())).endpoint
        is_import = endpoint in IMPORTS
        bodies = [one.body for one in group.values()]
        body = b"\n".join(bodies) if is_import else b'{"batch":[' + b",".join(bodies) + b"]}"
        answer = self._post(endpoint, body)
        events: list[dict[str, Any]] | None = answer.json().get("events")
        if events is None:
            # Refused as a whole; the answer is about all of them, and all of them are kept there.
            return dict.fromkeys(group, REFUSED)
        refused = {event["index"] for event in events if not event["accepted"]}
        return {name: REFUSED if place in refused else ACCEPTED for place, name in enumerate(group)}

    def _post(self, endpoint: str, body: bytes) -> httpx.Response:
        trouble = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(LONGEST_PAUSE_S, 0.25 * 2**attempt))
            try:
                answer = self._client.post(
                    self._url + endpoint, content=body, auth=self._auth, headers={"Content-Type": "application/json"}
                )
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__} {error}".strip()
                continue
            is_verdict = answer.status_code in (200, 400, 413)
            if is_verdict and _is_json_object(answer):
                return answer
            if not is_verdict and answer.status_code not in RETRY:
                raise Fatal(f"{self._url}{endpoint} answered {answer.status_code}: {answer.text[:500]}")
            trouble = f"{answer.status_code} {answer.text[:200]}"
        raise Retriable(
            f"{self._url}{endpoint}: no verdict after {ATTEMPTS} attempts ({trouble}); the rest was not sent"
        )


def _is_json_object(answer: httpx.Response) -> bool:
    """False for what only something in front of ingest says, e.g. a sign-in page with status 200."""
    try:
        return isinstance(answer.json(), dict)
    except ValueError:
        return False
