"""Which version of the policy holds since when. The graph script tells it, as a change among all others."""

from typing import NamedTuple

import msgpack

from services.chassis.errors import Retriable
from services.chassis.failpoints import fp
from services.chassis.redis.client import RedisClient, RedisError
from services.identity import metrics
from services.identity.adapters import TAG
from services.identity.core.policy import Policy

HOLDS, ALL, RULES = f"{TAG}:policy", f"{TAG}:policies", f"{TAG}:rules:"


class Version(NamedTuple):
    """A policy that held from since_ms on; `before`: the version that it replaced, empty for the first."""

    number: int
    version: str
    since_ms: int
    before: str


class Adoption:
    """Of one process: its rules are put down whenever a partition is claimed; the first batch tells them.

    Not earlier: before a claim nobody knows whether this Redis is the right one, and what was lost is rebuilt into an
    empty one only.
    """

    def __init__(self, client: RedisClient, policy: Policy) -> None:
        self._client, self._policy = client, policy

    def adopt(self) -> None:
        """Write the rules under their version, where the script finds them. Raises Retriable.

        At every claim: a Redis that came back from a replica may not have what it was told before.
        """
        try:
            fp("before_policy", RedisError)
            self._client.set(f"{RULES}{self._policy.version}", self._policy.text)
            number = self._client.hget(HOLDS, "number")
            fp("after_policy", RedisError)
        except RedisError as error:
            raise Retriable(f"the rules of the identity policy: {error}") from error
        metrics.POLICY.set(int(number or 0))


def versions(client: RedisClient) -> list[Version]:
    """The last thousand that held, oldest first; all that ever did are in ClickHouse. Raises Retriable."""
    try:
        found = client.lrange(ALL, 0, -1)
    except RedisError as error:
        raise Retriable(f"the versions of the identity policy: {error}") from error
    return [Version(*msgpack.unpackb(raw)) for raw in found]
