-- Snapshots of customers (topic profiles); the highest rev is the current one. No partitions: snapshots of one customer
-- must meet in a merge.
CREATE TABLE IF NOT EXISTS customers_raw
(
    customer_id String COMMENT 'UUID text',
    rev UInt64 COMMENT 'grows with every snapshot of the customer; the highest is the current one',
    deleted UInt8 COMMENT '1: merged into another customer or erased',
    n UInt64 COMMENT 'last number of the log of the customer that is in it',
    identifiers Array(String) CODEC(ZSTD(1)) COMMENT 'identifiers for people, masked',
    nodes Array(String) CODEC(ZSTD(1)) COMMENT 'node texts kind:hex',
    traits String CODEC(ZSTD(1)) COMMENT 'PII: JSON object: traits, last writer by event time',
    first_seen DateTime64(3, 'UTC') COMMENT 'earliest event; 1970-01-01 = nothing happened yet',
    last_seen DateTime64(3, 'UTC') COMMENT 'latest event; 1970-01-01 = nothing happened yet',
    stage LowCardinality(String) COMMENT 'prospect | first_purchase | repeat | loyal | dormant | churned',
    stage_since DateTime64(3, 'UTC') COMMENT 'since when',
    tags_json String CODEC(ZSTD(1)) COMMENT 'JSON array of {name, since in ms, reason}, by name',
    recency_days Int64 COMMENT 'business days since the last purchase, as of updated_at; -1 = none in the window',
    frequency Int64 COMMENT 'purchases in the window',
    monetary_minor Int64 COMMENT 'net spend in the window, minor units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217 of monetary_minor; empty = no purchase',
    r UInt8 COMMENT 'recency score 1 to 5; 0 = none',
    f UInt8 COMMENT 'frequency score 1 to 5; 0 = none',
    m UInt8 COMMENT 'monetary score 1 to 5; 0 = none',
    thresholds_version UInt64 COMMENT 'version of rfm_thresholds behind r, f and m; 0 = none',
    events UInt64 COMMENT 'events of the customer, all time',
    updated_at DateTime64(3, 'UTC') COMMENT 'when profile wrote it',
    log_partition UInt32 COMMENT 'partition of the record in the topic it was read from',
    log_offset UInt64 COMMENT 'offset of the record in the topic it was read from',
    log_at DateTime64(3, 'UTC') COMMENT 'log append time of that record, by the broker'
)
ENGINE = ReplacingMergeTree(rev, deleted)
ORDER BY customer_id
SETTINGS non_replicated_deduplication_window = 100000;

-- Current customers: merged-away and erased ones are gone.
CREATE OR REPLACE VIEW customers AS
SELECT
    customer_id,
    identifiers,
    nodes,
    traits,
    first_seen,
    last_seen,
    stage,
    stage_since,
    JSONExtract(tags_json, 'Array(Tuple(name String, since Int64, reason String))').name AS tags,
    tags_json,
    recency_days,
    frequency,
    monetary_minor,
    currency,
    r,
    f,
    m,
    thresholds_version,
    events,
    rev,
    n,
    updated_at
FROM customers_raw FINAL
WHERE deleted = 0;
