-- What R, F and M scores were cut by; a customer's thresholds_version names the row.
CREATE TABLE IF NOT EXISTS rfm_thresholds
(
    version UInt64 COMMENT 'grows by one with every change',
    computed_at DateTime64(3, 'UTC') COMMENT 'when',
    customers UInt64 COMMENT 'buyers in the window they were computed from',
    thresholds String COMMENT 'JSON object: cut points and percentiles, as the profile service uses them'
)
ENGINE = ReplacingMergeTree(computed_at)
ORDER BY version
SETTINGS non_replicated_deduplication_window = 1000;
