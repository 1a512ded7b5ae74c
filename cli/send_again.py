"""Refused events to ingest once more, in small batches, with a verdict for each."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

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
    """One destination."""

    def __init__(self, url: str, write_key: str, client: httpx.Client | None = None) -> None:
        self._client = client or httpx.Client(timeout=TIMEOUT_S)
        self._url, self._auth = url.rstrip("/"), httpx.BasicAuth(write_key, "")

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
            if answer.status_code in (200, 400, 413):
                return answer
            if answer.status_code not in RETRY:
                raise Fatal(f"{self._url}{endpoint} answered {answer.status_code}: {answer.text[:500]}")
            trouble = f"{answer.status_code} {answer.text[:200]}"
        raise Retriable(
            f"{self._url}{endpoint}: no verdict after {ATTEMPTS} attempts ({trouble}); the rest was not sent"
        )
