"""Waiting for a Redis that keeps what it acknowledges."""

from services.chassis.errors import Retriable
from services.chassis.logs import get_logger
from services.chassis.redis.client import assert_durable, sync_client
from services.chassis.run import Stop

PAUSE_S = 0.5


def wait_for_redis(url: str, is_relaxed: bool, stop: Stop) -> None:
    """Return when it answers, or stop is set. Raises Fatal when it may forget what it acknowledged."""
    with sync_client(url) as client:
        while not stop.is_set():
            try:
                for shortcoming in assert_durable(client, is_relaxed):
                    get_logger().warning("redis.relaxed", text=shortcoming)
                return
            except Retriable as error:
                get_logger().warning("redis.absent", text=str(error)[:200])
                stop.wait(PAUSE_S)
