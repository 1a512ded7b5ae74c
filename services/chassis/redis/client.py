"""Redis or Valkey clients, and the assertions a ledger's server must pass before anything is written to it."""

import re
from typing import TypeAlias

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError as RedisError
from redis.exceptions import ResponseError
from redis.retry import Retry

from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import fp
from services.chassis.logs import get_logger

# Long enough for a script over a batch of 5,000 (50 ms measured) behind other partitions' batches and an fsync;
# shorter would turn a slow disk into claims, longer would hide a dead server.
SOCKET_TIMEOUT_S = 10.0
# Of one asyncio client. The library's own pool refuses the call that finds all of its connections in use: a burst of
# deliveries then backs off as if Redis were away. Redis works off one call at a time: more would only queue there.
MAX_CONNECTIONS = 32


# The driver's class, for the annotations of those who may not import the driver.
RedisClient: TypeAlias = redis.Redis


class Server:
    """Which server process answers: `life` is counted up when it is another one than before (a restart, a failover).

    The request that would have been the first to a new one fails instead, before it is sent.
    """

    def __init__(self) -> None:
        self.life = 0
        self._run_id = ""

    def greet(self, connection: "redis.Connection") -> None:
        """Called for every new connection. Raises ConnectionError when another process answers than before."""
        connection.on_connect()  # type: ignore[no-untyped-call]
        connection.send_command("INFO", "server")  # type: ignore[no-untyped-call]
        try:
            told = re.search(rb"^run_id:(\w+)", connection.read_response(), re.MULTILINE)
        except (
            ResponseError
        ):  # hidden, as managed servers hide CONFIG: then a claim after the next fault has to find out
            return
        before, self._run_id = self._run_id, told[1].decode() if told else ""
        if before and before != self._run_id:
            self.life += 1
            raise redis.ConnectionError(f"another Redis process answers: {self._run_id}, not {before}")


def sync_client(url: str, server: Server | None = None) -> "redis.Redis":
    """A client that never retries by itself: a "failure" of an apply may be one's own success."""
    return redis.Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=5.0,
        redis_connect_func=server and server.greet,
    )  # fmt: skip


def durable_client(url: str, relaxed: bool, server: Server | None = None) -> "redis.Redis":
    """sync_client of a server that passed assert_durable; what `relaxed` lets pass is logged."""
    client = sync_client(url, server)
    for shortcoming in assert_durable(client, relaxed):
        get_logger().warning("redis.relaxed", text=shortcoming)
    return client


def async_client(url: str) -> "redis.asyncio.Redis":
    """The asyncio twin of sync_client, for notify. A call waits while all connections are in use."""
    from redis.asyncio.retry import Retry as AsyncRetry

    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url, max_connections=MAX_CONNECTIONS, timeout=None, retry=AsyncRetry(NoBackoff(), 0),
        socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=5.0,
    )  # fmt: skip
    return redis.asyncio.Redis.from_pool(pool)


def assert_durable(client: "redis.Redis", relaxed: bool) -> list[str]:
    """Refuse a server that may forget what it acknowledged; returns the shortcomings that `relaxed` lets pass.

    Raises Fatal (says which directive to change), Retriable when the server does not answer.
    """
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    try:
        fp("before_check_redis", RedisError)
        found = {name: _config(client, name) for name in wanted}
        fp("after_check_redis", RedisError)
    except RedisError as error:
        raise Retriable(f"Redis does not answer CONFIG GET: {error}") from error
    wrong = [f"{name} is {found[name]!r}, must be {value!r}" for name, value in wanted.items() if found[name] != value]
    if found["maxmemory-policy"] not in ("noeviction", "unknown") or (wrong and not relaxed):
        raise Fatal(
            "Redis may lose acknowledged state: "
            + "; ".join(wrong)
            + ". Change the server's configuration, or set TOUCHSTREAM_RELAXED_DURABILITY=true where losing events at"
            " a power cut is acceptable (never for noeviction)."
        )
    return wrong


def _config(client: "redis.Redis", name: str) -> str:
    try:
        values = client.config_get(name)
    except ResponseError:  # managed servers hide CONFIG
        return "unknown"
    return str(values.get(name, "unknown"))
