-- What rules fired (topic triggers) and what became of every action (topic deliveries).
CREATE TABLE IF NOT EXISTS triggers_raw
(
    trigger_id String COMMENT 'hash of rule, version and anchor: the same moment has the same id for ever',
    rule LowCardinality(String) COMMENT 'rule name',
    rule_version String COMMENT 'version of the rule that fired',
    customer_id String COMMENT 'customer at that moment, UUID text; the current one is in the view triggers',
    anchor String COMMENT 'the qualifying moment: an event id, or what began the tag',
    cause String COMMENT 'place in touchpoints of the touchpoint behind it',
    event_id String COMMENT 'event id behind it; empty when time passed',
    name LowCardinality(String) COMMENT 'event name behind it; empty when time passed',
    fired_at DateTime64(3, 'UTC') COMMENT 'when the rule fired',
    accepted_at DateTime64(3, 'UTC') COMMENT 'received_at of the touchpoint; 1970-01-01 when time passed',
    actions String CODEC(ZSTD(1)) COMMENT 'JSON array: the actions of the rule in order',
    profile String CODEC(ZSTD(1)) COMMENT 'PII: JSON object: the profile that the rule saw',
    properties String CODEC(ZSTD(1)) COMMENT 'JSON object: properties of the event behind it',
    log_partition UInt32 COMMENT 'partition of the record in the topic it was read from',
    log_offset UInt64 COMMENT 'offset of the record in the topic it was read from',
    log_at DateTime64(3, 'UTC') COMMENT 'log append time of that record, by the broker'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(log_at)
PRIMARY KEY (rule, fired_at)
ORDER BY (rule, fired_at, trigger_id, log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 100000;

-- notify answers at least once: several outcomes of one delivery collapse to the last. Partitioned by the time of the
-- trigger, which they share, so that they meet.
CREATE TABLE IF NOT EXISTS deliveries_raw
(
    delivery_id String COMMENT 'hash of trigger_id and the index of the action',
    trigger_id String COMMENT 'trigger it belongs to',
    customer_id String COMMENT 'customer at that moment, UUID text; the current one is in the view deliveries',
    rule LowCardinality(String) COMMENT 'rule name',
    channel LowCardinality(String) COMMENT 'webhook | email | sms | wecom | task | sink or another configured one',
    destination String COMMENT 'where to, masked or a label',
    status LowCardinality(String) COMMENT 'delivered | failed | suppressed | unknown',
    attempts Int64 COMMENT 'sends tried',
    error String COMMENT 'last error, or why it was suppressed; empty = none',
    provider_id String COMMENT 'message id that the provider gave; empty = none',
    fired_at DateTime64(3, 'UTC') COMMENT 'when the rule fired',
    accepted_at DateTime64(3, 'UTC') COMMENT 'received_at of the touchpoint; 1970-01-01 when time passed',
    finished_at DateTime64(3, 'UTC') COMMENT 'when the outcome was known',
    log_partition UInt32 COMMENT 'partition of the record in the topic it was read from',
    log_offset UInt64 COMMENT 'offset of the record in the topic it was read from',
    log_at DateTime64(3, 'UTC') COMMENT 'log append time of that record, by the broker'
)
ENGINE = ReplacingMergeTree(finished_at)
PARTITION BY toYYYYMM(fired_at)
PRIMARY KEY (rule, fired_at)
ORDER BY (rule, fired_at, delivery_id)
SETTINGS non_replicated_deduplication_window = 100000;

CREATE OR REPLACE VIEW triggers AS
SELECT
    t.trigger_id AS trigger_id,
    t.rule AS rule,
    t.rule_version AS rule_version,
    if(ifNull(m.ended_id, '') = '', t.customer_id, ifNull(m.customer_id, '')) AS customer_id,
    t.anchor AS anchor,
    t.cause AS cause,
    t.event_id AS event_id,
    t.name AS name,
    t.fired_at AS fired_at,
    t.accepted_at AS accepted_at,
    t.actions AS actions,
    t.profile AS profile,
    t.properties AS properties,
    t.customer_id AS arrived_customer_id,
    t.log_at AS log_at
FROM triggers_raw AS t
LEFT ANY JOIN (SELECT ended_id, customer_id FROM ended_customers) AS m ON m.ended_id = t.customer_id
WHERE ifNull(m.ended_id, '') = '' OR ifNull(m.customer_id, '') != '';

CREATE OR REPLACE VIEW deliveries AS
SELECT
    d.delivery_id AS delivery_id,
    d.trigger_id AS trigger_id,
    if(ifNull(m.ended_id, '') = '', d.customer_id, ifNull(m.customer_id, '')) AS customer_id,
    d.rule AS rule,
    d.channel AS channel,
    d.destination AS destination,
    d.status AS status,
    d.attempts AS attempts,
    d.error AS error,
    d.provider_id AS provider_id,
    d.fired_at AS fired_at,
    d.accepted_at AS accepted_at,
    d.finished_at AS finished_at,
    d.customer_id AS arrived_customer_id,
    d.log_at AS log_at
FROM deliveries_raw AS d FINAL
LEFT ANY JOIN (SELECT ended_id, customer_id FROM ended_customers) AS m ON m.ended_id = d.customer_id
WHERE ifNull(m.ended_id, '') = '' OR ifNull(m.customer_id, '') != '';
