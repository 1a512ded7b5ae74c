-- Segments stand among a customer's tags as segment:<name>; here each is told apart, with when it ends if nothing happens.
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
    arrayFilter(
        tag -> NOT startsWith(tag, 'segment:'),
        JSONExtract(tags_json, 'Array(Tuple(name String, since Int64, reason String))').name
    ) AS tags,
    arrayMap(
        tag -> substring(tag, 9),
        arrayFilter(
            tag -> startsWith(tag, 'segment:'),
            JSONExtract(tags_json, 'Array(Tuple(name String, since Int64, reason String))').name
        )
    ) AS segments,
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

-- Tags that customers hold now, a row each, segments too.
CREATE OR REPLACE VIEW customer_tags AS
SELECT
    customer_id,
    tag.name AS tag,
    fromUnixTimestamp64Milli(tag.since) AS since,
    if(tag.until = 0, NULL, fromUnixTimestamp64Milli(tag.until)) AS until,
    tag.reason AS reason
FROM customers
ARRAY JOIN JSONExtract(tags_json, 'Array(Tuple(name String, since Int64, until Int64, reason String))') AS tag;

-- Who is in a segment now.
CREATE OR REPLACE VIEW segment_members AS
SELECT
    substring(tag, 9) AS segment,
    customer_id,
    since,
    until,
    reason
FROM customer_tags
WHERE startsWith(tag, 'segment:');

-- How many are in each segment now.
CREATE OR REPLACE VIEW segments AS
SELECT
    segment,
    count() AS customers,
    max(since) AS last_entered
FROM segment_members
GROUP BY segment;
