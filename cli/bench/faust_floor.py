"""notify's floor: Faust, set up as notify sets it up, reads the triggers and acknowledges them, nothing else."""

import asyncio
import time

from services.chassis.health import Health
from services.chassis.settings import load_settings
from services.notify.app import Stream
from services.notify.handler.intake import Incoming
from services.notify.settings import NotifySettings

GROUP = "touchstream-bench-floor"
LEAVE_S = 5.0


class Counting:
    """In place of the intake. CPU counts from the first record on: joining the group is no cost of a trigger."""

    def __init__(self, count: int) -> None:
        self.left, self.done = count, asyncio.Event()
        self.began_s = 0.0

    async def put(self, incoming: Incoming) -> None:
        """One record less."""
        self.began_s = self.began_s or time.process_time()
        incoming.acknowledge()
        self.left -= 1
        if self.left == 0:
            self.done.set()


async def consume_triggers(count: int) -> float:
    """CPU seconds of reading that many triggers, which must be there."""
    stream, counting = Stream(load_settings(NotifySettings), Health(), GROUP), Counting(count)
    stream.feed(counting)
    starting = asyncio.ensure_future(stream.app.start())
    await counting.done.wait()
    used_s = time.process_time() - counting.began_s
    starting.cancel()
    await asyncio.wait([starting, asyncio.ensure_future(stream.app.stop())], timeout=LEAVE_S)
    return used_s
