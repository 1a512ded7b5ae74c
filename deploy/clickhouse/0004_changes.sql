-- What profile concluded (topic profile.changes): one row per tag that began or ended, one per change of stage.
CREATE TABLE IF NOT EXISTS tag_changes_raw
(
    customer_id String COMMENT 'customer at that moment, UUID text; the current one is in the view tag_changes',
    tag LowCardinality(String) COMMENT 'tag name',
    change LowCardinality(String) COMMENT 'added | removed',
    reason String COMMENT 'added: why, for people',
    anchor String COMMENT 'added: what began the tag, an event id or a place',
    changed_at DateTime64(3, 'UTC') COMMENT 'when profile decided it',
    occurred_at DateTime64(3, 'UTC') COMMENT 'when that which changed it happened or fell due',
    kind LowCardinality(String) COMMENT 'event | tick (time passed) | gave | took | erased',
    name LowCardinality(String) COMMENT 'event name; empty unless kind is event',
    event_id String COMMENT 'event id; empty unless kind is event',
    source LowCardinality(String) COMMENT 'source of the event; empty unless kind is event',
    cause String COMMENT 'place in touchpoints of the touchpoint behind it',
    k UInt32 COMMENT 'number among the tag changes of one record',
    log_partition UInt32 COMMENT 'partition of the record in the topic it was read from',
    log_offset UInt64 COMMENT 'offset of the record in the topic it was read from',
    log_at DateTime64(3, 'UTC') COMMENT 'log append time of that record, by the broker'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(log_at)
PRIMARY KEY (tag, changed_at)
ORDER BY (tag, changed_at, customer_id, log_partition, log_offset, k)
SETTINGS non_replicated_deduplication_window = 100000;

CREATE TABLE IF NOT EXISTS stage_changes_raw
(
    customer_id String COMMENT 'customer at that moment, UUID text; the current one is in the view stage_changes',
    stage_from LowCardinality(String) COMMENT 'lifecycle stage before; empty = none yet',
    stage_to LowCardinality(String) COMMENT 'lifecycle stage after',
    changed_at DateTime64(3, 'UTC') COMMENT 'when profile decided it',
    occurred_at DateTime64(3, 'UTC') COMMENT 'when that which changed it happened or fell due',
    kind LowCardinality(String) COMMENT 'event | tick (time passed) | gave | took | erased',
    name LowCardinality(String) COMMENT 'event name; empty unless kind is event',
    event_id String COMMENT 'event id; empty unless kind is event',
    source LowCardinality(String) COMMENT 'source of the event; empty unless kind is event',
    cause String COMMENT 'place in touchpoints of the touchpoint behind it',
    log_partition UInt32 COMMENT 'partition of the record in the topic it was read from',
    log_offset UInt64 COMMENT 'offset of the record in the topic it was read from',
    log_at DateTime64(3, 'UTC') COMMENT 'log append time of that record, by the broker'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(log_at)
PRIMARY KEY (stage_to, changed_at)
ORDER BY (stage_to, changed_at, customer_id, log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 100000;

CREATE OR REPLACE VIEW tag_changes AS
SELECT
    if(ifNull(m.ended_id, '') = '', t.customer_id, ifNull(m.customer_id, '')) AS customer_id,
    t.tag AS tag,
    t.change AS change,
    t.reason AS reason,
    t.anchor AS anchor,
    t.changed_at AS changed_at,
    t.occurred_at AS occurred_at,
    t.kind AS kind,
    t.name AS name,
    t.event_id AS event_id,
    t.source AS source,
    t.cause AS cause,
    t.customer_id AS arrived_customer_id,
    t.log_at AS log_at
FROM tag_changes_raw AS t
LEFT ANY JOIN (SELECT ended_id, customer_id FROM ended_customers) AS m ON m.ended_id = t.customer_id
WHERE ifNull(m.ended_id, '') = '' OR ifNull(m.customer_id, '') != '';

CREATE OR REPLACE VIEW stage_changes AS
SELECT
    if(ifNull(m.ended_id, '') = '', t.customer_id, ifNull(m.customer_id, '')) AS customer_id,
    t.stage_from AS stage_from,
    t.stage_to AS stage_to,
    t.changed_at AS changed_at,
    t.occurred_at AS occurred_at,
    t.kind AS kind,
    t.name AS name,
    t.event_id AS event_id,
    t.source AS source,
    t.cause AS cause,
    t.customer_id AS arrived_customer_id,
    t.log_at AS log_at
FROM stage_changes_raw AS t
LEFT ANY JOIN (SELECT ended_id, customer_id FROM ended_customers) AS m ON m.ended_id = t.customer_id
WHERE ifNull(m.ended_id, '') = '' OR ifNull(m.customer_id, '') != '';
