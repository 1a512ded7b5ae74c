"""Which version of the policy holds since when, in Redis beside the graph."""

from typing import NamedTuple

import msgpack

from services.chassis.errors import Retriable
from services.chassis.failpoints import fp
from services.chassis.logs import get_logger
from services.chassis.redis.client import RedisClient, RedisError
from services.chassis.redis.ledger import script_text
from services.identity import metrics
from services.identity.adapters import TAG
from services.identity.core.policy import Policy

HOLDS, ALL = f"{TAG}:policy", f"{TAG}:policies"


class Version(NamedTuple):
    """A policy that held from since_ms on; `before`: the version that it replaced, empty for the first."""

    number: int
    version: str
    since_ms: int
    before: str


class Adoption:
    """Of one process: the policy is adopted once, when the first partition is claimed.

    Not earlier: before a claim nobody knows whether this Redis is the right one, and what was lost is rebuilt into an
    empty one only.
    """

    def __init__(self, client: RedisClient, policy: Policy) -> None:
        self._client, self._policy, self._is_done = client, policy, False
        self._script = client.register_script(script_text("services.identity", "policy.lua"))

    def adopt(self, now_ms: int) -> None:
        """Write the version where another one held before, and say so. Raises Retriable."""
        if self._is_done:
            return
        try:
            fp("before_policy", RedisError)
            number, raw = self._script(keys=[HOLDS, ALL], args=[self._policy.version, now_ms])
            fp("after_policy", RedisError)
        except RedisError as error:
            raise Retriable(f"the version of the identity policy: {error}") from error
        before = raw.decode()
        metrics.POLICY.set(number)
        if before != self._policy.version:
            get_logger().warning("policy.changed", number=number, version=self._policy.version, before=before)
        self._is_done = True


def versions(client: RedisClient) -> list[Version]:
    """All that ever held, oldest first. Raises Retriable."""
    try:
        found = client.lrange(ALL, 0, -1)
    except RedisError as error:
        raise Retriable(f"the versions of the identity policy: {error}") from error
    return [Version(*msgpack.unpackb(raw)) for raw in found]
