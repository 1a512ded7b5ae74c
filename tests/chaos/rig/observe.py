"""What the system shows of one seed once it is at rest: topics, ClickHouse, the graph in Redis, what people received.

Reads and decodes, judges nothing: that is the oracle's. Decoding uses the product's Avro; a record that it cannot read
counts as missing, which the oracle sees.
"""

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from hashlib import blake2b

import httpx
import redis

from services.chassis.avro import Codec
from tests.chaos.rig.observation import Observation, Row
from tests.chaos.rig.tail import Seen

RECORD_OF = {
    "touchpoints": "touchpoint",
    "touchpoints.rejected": "rejected",
    "identity.changes": "identity_change",
    "profile.changes": "profile_change",
    "profiles": "profile",
    "triggers": "trigger",
    "deliveries": "delivery",
}
# Codes of kinds in the graph (tests/chaos/config/identity.yaml).
KINDS = {1: "user_id", 5: "email", 7: "device_id", 8: "anonymous_id"}
_IN_ONE = 1_000


class Channels:
    """Follows the numbers of every relay over the life of a deployment: contiguous, and a repeat is the same record."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int, str], int] = {}
        self._digests: dict[tuple[str, int, str], bytes] = {}

    def sift(self, records: Iterable[Seen]) -> tuple[list[Seen], list[str]]:
        """(records without repeats, what is wrong with the numbers)."""
        kept, wrong = [], []
        for seen in records:
            said = seen.headers.get("seq")
            if said is None:
                kept.append(seen)
                continue
            source, _, text = said.rpartition(":")
            channel, number = (seen.topic, seen.partition, source), int(text)
            last, where = self._last.get(channel, 0), f"{seen.topic}/{seen.partition}@{seen.offset} seq {said}"
            if number <= last:
                if self._digests[*channel[:2], said] != _digest(seen):
                    wrong.append(f"{where}: this number was another record before")
                continue
            if number != last + 1:
                wrong.append(f"{where}: the number before was {last}, a record is missing")
            self._last[channel] = number
            self._digests[*channel[:2], said] = _digest(seen)
            kept.append(seen)
        return kept, wrong


def _digest(seen: Seen) -> bytes:
    return blake2b(seen.key + b"\0" + (seen.value or b""), digest_size=12).digest()


def decode(records: Sequence[Seen]) -> dict[str, list[Row]]:
    """By topic; dead letters stay undecoded (`at` and `bytes`)."""
    found: dict[str, list[Row]] = {}
    for seen in records:
        record = RECORD_OF.get(seen.topic)
        if seen.topic == "touchpoints.resolved":
            record = "touchpoint" if seen.headers.get("kind") == "event" else "customer_log"
        row: Row = {}
        if record is not None and seen.value is not None:
            row = dict(_codec(record).decode(seen.value))
        row["at"] = f"{seen.topic}/{seen.partition}@{seen.offset}"
        row["place"] = (seen.partition, seen.offset)
        row["key"] = seen.key.decode(errors="replace")
        if seen.topic == "touchpoints.resolved":
            row |= {"kind": seen.headers["kind"], "n": int(seen.headers["n"]), "src": seen.headers["src"]}
            row["node"] = seen.headers.get("node", "")
        found.setdefault(seen.topic, []).append(row)
    return found


@cache
def _codec(record: str) -> Codec:
    return Codec(record)


class House:
    """ClickHouse, past all proxies."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30.0)

    def rows(self, sql: str) -> list[Row]:
        """The rows of a query. Raises httpx.HTTPError."""
        answer = self._client.post("/", params={"database": "touchstream"}, content=sql + " FORMAT JSONEachRow")
        answer.raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines()]

    def rows_of(self, ids: Iterable[str], sql: Callable[[str], str]) -> list[Row]:
        """Rows for many ids: `sql` gets the inside of an IN (…)."""
        wanted, found = sorted(set(ids)), []
        for i in range(0, len(wanted), _IN_ONE):
            found += self.rows(sql(", ".join(f"'{one}'" for one in wanted[i : i + _IN_ONE])))
        return found

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def read_house(house: House, prefix: str, seen: Observation) -> None:
    """Fill in ClickHouse's side of the seed whose ids begin with `prefix`."""
    seen.events = house.rows(
        "SELECT event_id, customer_id, n, node, name, toUnixTimestamp64Milli(occurred_at) AS occurred_ms, order_id,"
        f" amount_minor FROM events_raw WHERE startsWith(event_id, '{prefix}')"
    )
    owners = house.rows(f"SELECT event_id, customer_id FROM events WHERE startsWith(event_id, '{prefix}')")
    seen.owners = {row["event_id"]: row["customer_id"] for row in owners}
    ids = {row["customer_id"] for row in seen.events} | {
        row["key"] for row in seen.records.get("touchpoints.resolved", [])
    }
    found = house.rows_of(
        ids,
        lambda names: (
            "SELECT customer_id, nodes, traits, events, frequency, monetary_minor, n, rev,"
            " toUnixTimestamp64Milli(first_seen) AS first_ms, toUnixTimestamp64Milli(last_seen) AS last_ms"
            f" FROM customers WHERE customer_id IN ({names})"
        ),
    )
    seen.customers = {row["customer_id"]: row for row in found}
    owned = house.rows_of(
        ids, lambda names: f"SELECT node, customer_id FROM identifiers WHERE customer_id IN ({names})"
    )
    seen.identifiers = {row["node"]: row["customer_id"] for row in owned}
    seen.triggers = house.rows(
        f"SELECT trigger_id, rule, event_id FROM triggers_raw WHERE startsWith(event_id, '{prefix}')"
    )
    seen.deliveries = house.rows_of(
        {row["trigger_id"] for row in seen.triggers},
        lambda names: f"SELECT delivery_id, trigger_id, status FROM deliveries_raw FINAL WHERE trigger_id IN ({names})",
    )
    seen.duplicates = house.rows("SELECT * FROM duplicates_daily WHERE copies != 0 OR repeats != 0")


def read_graph(client: "redis.Redis", customers: Iterable[str]) -> dict[str, str]:
    """Node text → customer id, of these customers as far as the graph has them."""
    names = sorted(set(customers))
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.get(b"{identity}:c:" + bytes.fromhex(name.replace("-", "")))
    found = {}
    for name, raw in zip(names, pipe.execute(), strict=True):
        if raw is None:
            continue
        (count,) = struct.unpack_from(">H", raw, 12)
        for i in range(count):
            at = 14 + 17 * i
            found[f"{KINDS[raw[at]]}:{raw[at + 1 : at + 17].hex()}"] = name
    return found
