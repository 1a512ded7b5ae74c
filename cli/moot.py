"""What an unlink made moot: links that a guard had refused because of what is parted now."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.chassis.clickhouse import Clickhouse
from services.chassis.redis.client import RedisClient
from services.identity.adapters import TAG
from services.identity.core.homes import parse_home
from services.identity.core.policy import Policy
from services.identity.rebuild.requests import current_nodes, id_of

# Answers for a person: the newest ones.
MOST = 20
_REFUSED = """
SELECT nodes, argMax(event_id, g) AS event_id, argMax(source, g) AS source FROM identity_changes_raw FINAL
WHERE kind = 'conflict' AND length(nodes) = 2 AND (startsWith(reason, 'unique ') OR startsWith(reason, 'limit '))
    AND (customer_id IN {customers:Array(String)} OR from_id IN {customers:Array(String)}
    OR hasAny(nodes, {nodes:Array(String)}))
GROUP BY nodes ORDER BY max(g) DESC LIMIT 1000
"""


def moot(
    store: Clickhouse, client: RedisClient, policy: Policy, changes: Sequence[Mapping[str, Any]], wrong: str = ""
) -> Iterator[dict[str, Any]]:
    """Refused links (nodes, event_id, source) that no limit of a kind would refuse any more, newest first.

    `changes`: what the graph changed for the unlink. Who was refused was a customer of those that were parted, or named
    one of the identifiers that left. `wrong`: the first node of the identifier that was unlinked for itself, empty when
    it was a pair: its links are what was not to be.
    """
    parted = [change for change in changes if change["kind"] == "split"]
    if not parted:
        return
    customers = sorted({change[name] for change in parted for name in ("customer_id", "from_id")})
    asked = {"customers": customers, "nodes": [node for change in parted for node in change["nodes"]]}
    out = _now(client, policy, wrong)
    found = 0
    for row in store.query_rows(_REFUSED, asked):
        if found < MOST and out not in row["nodes"] and _would_join(client, policy, row["nodes"]):
            found += 1
            yield row


def _now(client: RedisClient, policy: Policy, first: str) -> str:
    """The node that an identifier has now, by its first one."""
    if not first:
        return ""
    kind = policy.kinds[first.partition(":")[0]]
    raw = client.get(f"{TAG}:i:".encode() + id_of(first, {kind.name: kind.code}))
    later = parse_home(raw).node if isinstance(raw, bytes) else b""
    return f"{kind.name}:{later[1:].hex()}" if later else first


def _would_join(client: RedisClient, policy: Policy, nodes: Sequence[str]) -> bool:
    """Whether the two nodes are of two customers now whom no limit keeps apart; neither is a former node."""
    codes = {name: kind.code for name, kind in policy.kinds.items()}
    raw = [id_of(node, codes) for node in nodes if node.partition(":")[0] in codes]
    homes = [parse_home(client.get(f"{TAG}:i:".encode() + one) or b"-").customer for one in raw]  # type: ignore[arg-type]
    if len(homes) < 2 or not all(homes) or homes[0] == homes[1]:
        return False
    held = [current_nodes(client.get(f"{TAG}:c:".encode() + home) or b"") for home in homes]  # type: ignore[arg-type]
    if not all(one in some for one, some in zip(raw, held, strict=True)):
        return False
    for kind in policy.kinds.values():
        counts = [sum(1 for node in some if node[0] == kind.code) for some in held]
        if kind.limit and all(counts) and sum(counts) > kind.limit:
            return False
    return True
