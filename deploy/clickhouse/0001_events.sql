-- One row per accepted touchpoint, as the graph script decided it (topic touchpoints.resolved, kind event).
--
-- Partition: month of the broker's log time. It never comes from a client's clock, so one insert touches one or two
-- partitions whatever times an import carries, and a repeated row lands in the partition of the first one.
-- Order: questions are about one event name over time; a customer's timeline finds its nodes by the bloom filter.
-- Exactly once: the insert's token within the deduplication window; beyond it, rows of the same touchpoint collapse,
-- because the order ends with its place in `touchpoints`.
CREATE TABLE IF NOT EXISTS events_raw
(
    event_id String COMMENT 'message id of the client',
    customer_id String COMMENT 'customer when the event arrived, UUID text; the current one is in the view events',
    n UInt64 COMMENT 'number of the record in the log of that customer',
    node String COMMENT 'primary identifier as node text kind:hex (keyed digest)',
    type LowCardinality(String) COMMENT 'track | identify | page | screen | group | alias | unlink | erase',
    name LowCardinality(String) COMMENT 'event name',
    occurred_at DateTime64(3, 'UTC') COMMENT 'when it happened',
    received_at DateTime64(3, 'UTC') COMMENT 'when ingest accepted it',
    source LowCardinality(String) COMMENT 'source system, as named by its write key',
    order_id String COMMENT 'order the event is about; empty = none',
    amount_minor Int64 COMMENT 'minor units of currency: total of Order Completed, refunded amount of Order Refunded; else 0',
    currency LowCardinality(String) COMMENT 'ISO 4217; empty = no amount',
    identifiers Array(String) CODEC(ZSTD(1)) COMMENT 'PII: identifiers kind:value in plain text, strongest first',
    properties String CODEC(ZSTD(1)) COMMENT 'JSON object: properties of the event',
    traits String CODEC(ZSTD(1)) COMMENT 'PII: JSON object: traits of the person that the touchpoint states',
    context String CODEC(ZSTD(1)) COMMENT 'PII: JSON object: device, page, campaign, consent, as sent',
    originals String CODEC(ZSTD(1)) COMMENT 'PII: JSON object: field path → value as sent, where standardising changed it',
    flags Int64 COMMENT 'bit set: 1 historical import, 2 public write key, 4 occurred_at was clamped',
    place_generation UInt64 COMMENT 'place of the touchpoint in topic touchpoints: generation of the log',
    place_partition UInt32 COMMENT 'place of the touchpoint in topic touchpoints: partition',
    place_offset UInt64 COMMENT 'place of the touchpoint in topic touchpoints: offset',
    log_partition UInt32 COMMENT 'partition of the record in the topic it was read from',
    log_offset UInt64 COMMENT 'offset of the record in the topic it was read from',
    log_at DateTime64(3, 'UTC') COMMENT 'log append time of that record, by the broker',
    INDEX node_filter node TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(log_at)
PRIMARY KEY (name, occurred_at)
ORDER BY (name, occurred_at, source, event_id, place_generation, place_partition, place_offset)
SETTINGS non_replicated_deduplication_window = 100000;
