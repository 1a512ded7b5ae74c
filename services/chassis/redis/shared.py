"""One small value that processes share outside the ledger, replaced only by who has seen the former one."""

import redis
from redis.exceptions import RedisError

from services.chassis.errors import Retriable

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
            found = self._client.get(self._key)
        except RedisError as error:
            raise Retriable(f"{self._key}: {error}") from error
        return found.encode() if isinstance(found, str) else found

    def replace(self, former: bytes | None, value: bytes) -> bool:
        """Store value if the stored one is still `former` (None: there is none); False when somebody was faster."""
        try:
            return bool(self._replace(keys=[self._key], args=[former or b"", value]))
        except RedisError as error:
            raise Retriable(f"{self._key}: {error}") from error
