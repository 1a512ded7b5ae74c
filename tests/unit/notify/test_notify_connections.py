"""More calls at once than Redis connections."""

import asyncio

from services.chassis.redis.client import MAX_CONNECTIONS
from services.notify.adapters.store import Store


async def test_a_burst_of_calls_waits_for_connections_instead_of_failing(store: Store) -> None:
    depths = await asyncio.gather(*(store.depths(4) for _ in range(20 * MAX_CONNECTIONS)))
    assert depths == [(0, {})] * (20 * MAX_CONNECTIONS)
