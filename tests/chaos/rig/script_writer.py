"""Clients of a Valkey that remember what they were answered, and say whether it is still there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from services.chassis.redis.client import sync_client
from services.chassis.testing.waiting import wait_for

# Two keys that only ever change together, as a ledger's position and its outbox do.
SCRIPT = "redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])"


class Writer(threading.Thread):
    """Runs the script over and over through a proxy, and remembers the last number it was answered."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__(daemon=True)
        self.keys = [f"{{{number}}}:position", f"{{{number}}}:outbox"]
        self.asked = self.answered = 0
        self._client = sync_client(f"redis://127.0.0.1:{port}/0")

    def run(self) -> None:
        """Until the connection breaks."""
        script = self._client.register_script(SCRIPT)
        try:
            while True:
                self.asked += 1
                self.answered = int(script(keys=self.keys))
        except redis.RedisError:
            self._client.close()

    def check(self, client: "redis.Redis") -> None:
        """What is left is all that was answered, nothing that was not asked, and no half of a script."""
        position, outbox = (int(value or 0) for value in client.mget(self.keys))
        assert position == outbox
        assert self.answered <= position <= self.asked


@contextmanager
def writers(port: int, count: int = 4, first: int = 0) -> Iterator[list[Writer]]:
    """Writers that have all been answered; on leaving, their server is expected to be gone and they to have ended."""
    threads = [Writer(number, port) for number in range(first, first + count)]
    for thread in threads:
        thread.start()
    wait_for(lambda: all(thread.answered > 20 for thread in threads), "every writer has been answered")
    yield threads
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
