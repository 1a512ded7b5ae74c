-- Corrections of profiles by staff: one row for each step that somebody took (request, approval or refusal, application).
-- Written by `touchstream correction`, never changed: the state of a correction follows from its rows. No partitions and
-- no collapsing: an audit keeps every row. `at` is the server's clock, one for all who take steps.
CREATE TABLE IF NOT EXISTS corrections
(
    id String COMMENT 'the correction, UUID text; event id of the touchpoint that applies it',
    step LowCardinality(String) COMMENT 'requested | approved | refused | applied',
    at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'when, by the clock of ClickHouse',
    author String COMMENT 'who took the step, as they say',
    account String COMMENT 'user of the machine on which it was taken',
    customer_id String COMMENT 'customer when the step was taken, UUID text',
    identifier String COMMENT 'PII: identifier kind:value that names the customer',
    fields String CODEC(ZSTD(1)) COMMENT 'PII: JSON array of {field, former, value, given}; of a request only',
    reason String COMMENT 'why, in the words of the author'
)
ENGINE = MergeTree
ORDER BY (id, at, step, author)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
