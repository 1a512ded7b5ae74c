-- An insert that is acknowledged is on disk. Without this ClickHouse answers when the kernel has it: a power loss would
-- take rows away whose position has moved on, and nobody would write them again. Merges need it not: the parts that were
-- merged stay for eight minutes, and a merged part that is broken after a power loss is made from them again.
ALTER TABLE events_raw MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE identity_changes_raw MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE identifier_map MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE customers_raw MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE tag_changes_raw MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE stage_changes_raw MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE triggers_raw MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE deliveries_raw MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE rfm_thresholds MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
