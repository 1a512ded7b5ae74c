"""One small value that processes share outside the ledger, replaced only by who has seen the former one."""

import redis
from redis.exceptions import RedisError

from services.chassis.errors import Retriable
from services.chassis.failpoints import fp

_REPLACE = """
local stored = redis.call('GET', KEYS[1]) or ''
if stored ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class SharedValue:
    """The bytes under one key. Raises Retriable when Redis does not answer."""

    def __init__(self, client: "redis.Redis", key: str) -> None:
        self._client, self._key = client, key
        self._replace = client.register_script(_REPLACE)

    def get(self) -> bytes | None:
        """The value, None when there is none."""
        try:
            fp("before_shared_get", RedisError)
            found = self._client.get(self._key)
            fp("after_shared_get", RedisError)
        except RedisError as error:
            raise Retriable(f"{self._key}: {error}") from error
        return found.encode() if isinstance(found, str) else found

    def replace(self, former: bytes | None, value: bytes) -> bool:
        """Store value if the stored one is still `former` (None: there is none); False when somebody was faster."""
        try:
            fp("before_shared_replace", RedisError)
            is_ours = bool(self._replace(keys=[self._key], args=[former or b"", value]))
            fp("after_shared_replace", RedisError)
            return is_ours
        except RedisError as error:
            raise Retriable(f"{self._key}: {error}") from error
