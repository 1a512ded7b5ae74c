-- Who is whom. identity_changes_raw keeps every decision of the graph; identifier_map is what joins need of it.
CREATE TABLE IF NOT EXISTS identity_changes_raw
(
    g UInt64 COMMENT 'number in the order in which the graph decided, across all customers',
    kind LowCardinality(String) COMMENT 'linked | merged | split | erased | conflict | blocked',
    customer_id String COMMENT 'customer after the change, UUID text; merged: the survivor; split: the new one',
    from_id String COMMENT 'merged: the customer that ended; split: the one it was taken from; conflict: the other one',
    nodes Array(String) CODEC(ZSTD(1)) COMMENT 'node texts of the customer after the change, the full list',
    reason String COMMENT 'why, for people',
    cause String COMMENT 'place in touchpoints of the touchpoint that decided it',
    event_id String COMMENT 'event id of that touchpoint',
    source LowCardinality(String) COMMENT 'source of that touchpoint',
    occurred_at DateTime64(3, 'UTC') COMMENT 'time of that touchpoint',
    accepted_at DateTime64(3, 'UTC') COMMENT 'received_at of that touchpoint',
    log_partition UInt32 COMMENT 'partition of the record in the topic it was read from',
    log_offset UInt64 COMMENT 'offset of the record in the topic it was read from',
    log_at DateTime64(3, 'UTC') COMMENT 'log append time of that record, by the broker'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(log_at)
PRIMARY KEY g
ORDER BY (g, log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 100000;

-- One row per node and change, the highest g wins: records of different partitions may arrive in any order.
-- `moved` leads the order, so that what views join, the few nodes that ever changed their customer, is one small range.
CREATE TABLE IF NOT EXISTS identifier_map
(
    moved UInt8 COMMENT '1: the change took the node from one customer to another (merged, split, erased); 0: linked',
    node String COMMENT 'node text kind:hex',
    customer_id String COMMENT 'customer of the node since g, UUID text; empty = erased',
    g UInt64 COMMENT 'number of the change',
    INDEX customer_filter customer_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(g)
ORDER BY (moved, node)
SETTINGS non_replicated_deduplication_window = 100000;

-- Events under the customer they belong to now. An event keeps the customer it arrived with unless its node moved
-- later; only moved nodes are joined. Events of erased customers are not shown.
CREATE OR REPLACE VIEW events AS
SELECT
    e.event_id AS event_id,
    if(ifNull(m.node, '') = '', e.customer_id, ifNull(m.customer_id, '')) AS customer_id,
    e.type AS type,
    e.name AS name,
    e.occurred_at AS occurred_at,
    e.received_at AS received_at,
    e.source AS source,
    e.node AS node,
    e.order_id AS order_id,
    e.amount_minor AS amount_minor,
    e.currency AS currency,
    e.properties AS properties,
    e.traits AS traits,
    e.context AS context,
    e.flags AS flags,
    e.customer_id AS arrived_customer_id,
    e.n AS n,
    e.place_generation AS place_generation,
    e.place_partition AS place_partition,
    e.place_offset AS place_offset,
    e.log_at AS log_at
FROM events_raw AS e
LEFT ANY JOIN
(
    SELECT node, argMax(customer_id, g) AS customer_id FROM identifier_map WHERE moved = 1 GROUP BY node
) AS m ON m.node = e.node
WHERE ifNull(m.node, '') = '' OR ifNull(m.customer_id, '') != '';

-- The nodes of every customer now.
CREATE OR REPLACE VIEW identifiers AS
SELECT node, argMax(m.customer_id, m.g) AS customer_id, max(m.g) AS since_g
FROM identifier_map AS m
GROUP BY node
HAVING customer_id != '';

-- A customer id that ended (merged away or erased) → the current one, empty when erased. Ids never come back.
-- A merged customer is followed through the last node of the survivor's list at its merge, so any number of later
-- merges is one join and no recursion.
CREATE OR REPLACE VIEW ended_customers AS
SELECT
    e.ended_id AS ended_id,
    if(e.node = '', '', if(ifNull(m.node, '') = '', e.next_id, ifNull(m.customer_id, ''))) AS customer_id
FROM
(
    SELECT if(kind = 'merged', from_id, customer_id) AS ended_id,
        argMax(if(kind = 'merged', customer_id, ''), g) AS next_id,
        argMax(if(kind = 'merged', nodes[-1], ''), g) AS node
    FROM identity_changes_raw
    WHERE kind IN ('merged', 'erased')
    GROUP BY ended_id
) AS e
LEFT ANY JOIN
(
    SELECT node, argMax(customer_id, g) AS customer_id FROM identifier_map WHERE moved = 1 GROUP BY node
) AS m ON m.node = e.node;

CREATE OR REPLACE VIEW identity_changes AS
SELECT g, kind, customer_id, from_id, nodes, reason, cause, event_id, source, occurred_at, accepted_at, log_at
FROM identity_changes_raw;
