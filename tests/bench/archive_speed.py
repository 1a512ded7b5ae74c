"""CPU µs of archive per event sent, by topic and step: `python -m tests.bench.archive_speed [events]`.

In one process and without Kafka, Redis and ClickHouse: what its own code costs between the consumer's messages and the
bytes of the inserts. The best of several rounds of process time, on one core; about half a minute.
"""

import gc
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from clickhouse_connect.datatypes.registry import get_from_name
from confluent_kafka import Message

from services.chassis.clickhouse import ColumnInsert, serialise
from services.chassis.kafka import client
from services.chassis.records import Record
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger
from services.profile.archive.core.rows import FEEDS, Arrived, Rows, Value
from services.profile.archive.decode import Decoder
from services.profile.archive.line import Limits, Line
from services.profile.archive.settings import ROOT
from tests.bench.archive_records import make_records

BATCH, ROUNDS = 1_000, 7
LIMITS = Limits(BATCH, 1 << 24)
STEPS = ("read", "cut", "decode", "columns", "serialise", "free")
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\n\((.*?)\n\)", re.DOTALL)
_COLUMN = re.compile(r"^    (\w+) (.+?)(?: CODEC\(\S+\))? COMMENT ", re.MULTILINE)


class Clock:
    """Sums the CPU time between its calls."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._at = time.process_time()

    def __call__(self, step: str) -> None:
        """What has passed since the last call was this step; an empty one counts for nothing."""
        now = time.process_time()
        self.spent[step] += now - self._at  # type: ignore[assignment]
        self._at = now


def measure(topic: str, messages: Sequence[Message], contexts: dict[str, ColumnInsert]) -> Counter[str]:
    """Step → CPU seconds of all records of a topic, in batches as long as under load."""
    clock, decoder = Clock(), Decoder(topic)
    columns = decoder.feed.rows

    def rows_of(records: Sequence[Arrived], values: Sequence[Value]) -> list[Rows]:
        clock("decode")
        rows = columns(records, values)
        clock("columns")
        return rows

    decoder.feed = replace(decoder.feed, rows=rows_of)
    line = Line(topic, FakeLedger().claim(Slot(f"archive.{topic}", 0), topic, "c", "t", 0), "log")
    for start in range(0, len(messages), BATCH):
        arrived = messages[start : start + BATCH]
        clock("")
        records = [client.to_record(message) for message in arrived]
        clock("read")
        line.add(records, 0.0)
        batch = line.cut(LIMITS)
        clock("cut")
        decoded = decoder.decode(batch.taken)
        clock("decode")
        assert not decoded.dead, decoded.dead[0]
        for rows in decoded.rows:
            serialise(contexts[rows.table], rows.data)
        clock("serialise")
        line.claim.position, line.claim.seen = batch.upto, batch.seen
        line.done(batch, 0.0)
        del records, batch, decoded
        clock("free")
    return clock.spent


def as_message(record: Record) -> Message:
    """The record as the consumer hands it out."""
    return Message(
        topic=record.topic, partition=record.partition, offset=record.offset, key=record.key, value=record.value,
        headers=list(record.headers.items()), timestamp=(2, record.log_ms),
    )  # fmt: skip


def insert_contexts() -> dict[str, ColumnInsert]:
    """Table → what its inserts are serialised by: columns and types as deploy/clickhouse defines them."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "deploy" / "clickhouse").glob("*.sql")))
    types = {table: dict(_COLUMN.findall(body)) for table, body in _TABLE.findall(text)}
    contexts = {}
    for feed in FEEDS.values():
        for rows in feed.rows([], []):
            kinds = [get_from_name(types[rows.table][name]) for name in rows.columns]
            contexts[rows.table] = ColumnInsert(rows.table, rows.columns, kinds, column_oriented=True)
    return contexts


def main() -> None:
    """Measure and print."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    contexts, total = insert_contexts(), 0.0
    gc.set_threshold(500_000, 20, 20)  # as archive does
    print(f"{'topic':<22}{'records':>8}{'bytes':>7}" + "".join(f"{step:>11}" for step in (*STEPS, "all")))
    for topic, records in make_records(events).items():
        messages = [as_message(record) for record in records]
        size = sum(len(record.value or b"") for record in records) // len(records)
        rounds = [measure(topic, messages, contexts) for _ in range(ROUNDS)]
        best = {step: min(spent[step] for spent in rounds) / events * 1e6 for step in STEPS}
        total += sum(best.values())
        figures = "".join(f"{us:>11.2f}" for us in (*best.values(), sum(best.values())))
        print(f"{topic:<22}{len(records):>8}{size:>7}{figures}")
    print(f"all: {total:.1f} µs an event")


if __name__ == "__main__":
    main()
