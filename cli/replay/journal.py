"""How far a replay has come, on disk: a prefix of the file whose every record has a verdict, and its books.

One file per data file, mapping and destination. It is replaced as a whole, so that a crash leaves the one before; what
was sent after it is sent again with the same message ids, which identity drops.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import msgspec

from cli.replay.tally import Tally
from services.chassis.errors import Fatal

SAVE_EVERY_S = 1.0


class Journal(msgspec.Struct):
    """The content of a journal; times are ms since 1970-01-01 UTC, elapsed_s counts all runs."""

    file: str
    url: str
    tally: Tally
    started_at: int
    elapsed_s: float = 0.0
    finished_at: int = 0


class JournalFile:
    """Where a journal lies."""

    def __init__(self, folder: Path, file_id: str, mapping: bytes, url: str, write_key: str) -> None:
        # The key decides the source: the same file for another source is another replay. Only its hash is stored.
        parts = (mapping, url.encode(), write_key.encode())
        digest = blake2b(b"\0".join(blake2b(part).digest() for part in parts), digest_size=6).hexdigest()
        self.path = folder / f"replay-{file_id}-{digest}.json"
        self._saved_s = 0.0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold it; Fatal when another process does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Fatal(f"another process replays this file right now ({self.path})") from None
            yield

    def load(self) -> Journal | None:
        """What the last run left; None before the first. Raises Fatal when it cannot be read."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Journal)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, OSError) as error:
            raise Fatal(f"journal {self.path} cannot be read ({error}); --again starts from the beginning") from error

    def save(self, journal: Journal, now: bool = False) -> None:
        """Replace it; at most once in SAVE_EVERY_S unless `now`."""
        if not now and time.monotonic() - self._saved_s < SAVE_EVERY_S:
            return
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(journal))
        os.replace(fresh, self.path)
        self._saved_s = time.monotonic()
