-- In which order the graph decided, across the partitions of `touchpoints`: what a rebuild of Redis needs of the time
-- before Kafka's retention. Filled from the header `batch`.
ALTER TABLE events_raw ADD COLUMN IF NOT EXISTS
    batch UInt64 DEFAULT 0 COMMENT 'number of the batch in which the graph decided, across all partitions; 0 = not told';

ALTER TABLE identity_changes_raw ADD COLUMN IF NOT EXISTS
    batch UInt64 DEFAULT 0 COMMENT 'number of the batch in which the graph decided, across all partitions; 0 = not told';
