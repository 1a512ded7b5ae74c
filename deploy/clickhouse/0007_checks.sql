-- What must be 0. `copies`: rows of one record that are there more than once (an insert was repeated beyond the
-- deduplication window; they collapse by themselves, but somebody should ask why). `repeats`: events that a source
-- sent again under the same event_id later than identity's duplicate window remembers.
CREATE OR REPLACE VIEW duplicates_daily AS
SELECT 'events' AS table, toDate(log_at) AS day,
    count() - uniqExact(place_generation, place_partition, place_offset) AS copies,
    uniqExact(place_generation, place_partition, place_offset) - uniqExact(source, event_id) AS repeats
FROM events_raw GROUP BY day
UNION ALL
SELECT 'identity_changes', toDate(log_at) AS day, count() - uniqExact(log_partition, log_offset), 0
FROM identity_changes_raw GROUP BY day
UNION ALL
SELECT 'tag_changes', toDate(log_at) AS day, count() - uniqExact(log_partition, log_offset, k), 0
FROM tag_changes_raw GROUP BY day
UNION ALL
SELECT 'stage_changes', toDate(log_at) AS day, count() - uniqExact(log_partition, log_offset), 0
FROM stage_changes_raw GROUP BY day
UNION ALL
SELECT 'triggers', toDate(log_at) AS day, count() - uniqExact(log_partition, log_offset),
    uniqExact(log_partition, log_offset) - uniqExact(trigger_id)
FROM triggers_raw GROUP BY day
UNION ALL
SELECT 'deliveries', toDate(log_at) AS day, count() - uniqExact(log_partition, log_offset), 0
FROM deliveries_raw GROUP BY day;
