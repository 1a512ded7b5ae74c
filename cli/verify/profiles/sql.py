"""A second opinion: the figures of every customer in plain ClickHouse SQL, which shares no code with the folds.

The rules are those of services/profile/README.md, written down once more. Two queries, both by customer: how often
something happened, and what the orders come to. Events are those that are in the profile that ClickHouse has: up to
the last number of the customer's log that it names, as of the day on which it was written.
"""

# What happened to every customer of now, day by day. An event whose traits are no JSON object is a dead letter of
# profile; a client's clock counts a day ahead at most. FINAL: a row that was inserted twice counts once.
_TOLD = """
SELECT
    e.customer_id AS customer, p.rev AS rev, toInt32(toDate32(toTimeZone(p.updated_at, {zone:String}))) AS today,
    toUnixTimestamp64Milli(least(e.occurred_at, e.received_at + INTERVAL 1 DAY)) AS at,
    toInt32(toDate32(toTimeZone(least(e.occurred_at, e.received_at + INTERVAL 1 DAY), {zone:String}))) AS day,
    if(e.type IN ('track', 'page', 'screen'), e.name, '') AS means, e.name AS name, e.node AS node,
    e.order_id AS order_id, if(e.order_id = '', '@' || e.event_id, '#' || e.order_id) AS this_order,
    e.amount_minor AS minor, if(e.currency = '' AND e.amount_minor != 0, {main:String}, e.currency) AS currency
FROM
(
    SELECT
        if(ifNull(m.node, '') = '', r.customer_id, ifNull(m.customer_id, '')) AS customer_id,
        r.customer_id AS arrived_customer_id, r.n AS n, r.occurred_at AS occurred_at, r.received_at AS received_at,
        r.type AS type, r.name AS name, r.node AS node, r.event_id AS event_id, r.order_id AS order_id,
        r.amount_minor AS amount_minor, r.currency AS currency
    FROM (SELECT * FROM events_raw FINAL WHERE length(traits) <= 2 OR JSONType(traits) = 'Object') AS r
    LEFT ANY JOIN
    (
        SELECT node, argMax(customer_id, g) AS customer_id FROM identifier_map WHERE moved = 1 GROUP BY node
    ) AS m ON m.node = r.node
) AS e
INNER JOIN
(
    SELECT customer_id, rev, n, updated_at FROM customers_raw FINAL WHERE deleted = 0 AND {which}
) AS p ON p.customer_id = e.customer_id
WHERE e.arrived_customer_id != e.customer_id OR e.n <= p.n
"""

# (customer, rev, event name, how often, in 365 days, in 90 days, first ms, last ms)
COUNTS = f"""
SELECT customer, rev, name, count(), countIf(day > today - 365), countIf(day > today - 90), min(at), max(at)
FROM ({_TOLD})
GROUP BY customer, rev, name ORDER BY customer
SETTINGS max_bytes_before_external_group_by = 1000000000, max_bytes_before_external_sort = 1000000000
"""

# One row per order; a refund that names none is one that nobody bought. stated: (ms, minor units, currency) of the last
# amount that a purchase or an update names.
_BUYS = "(means IN {purchase:Array(String)} OR means IN {line:Array(String)})"
_ORDERS = f"""
SELECT
    customer, rev, any(today) AS today, countIf({_BUYS}) > 0 AS is_bought,
    countIf(means IN {{cancellation:Array(String)}}) > 0 AS is_cancelled, maxIf(day, {_BUYS}) AS bought,
    maxIf((at, toInt128(minor), currency), currency != ''
        AND (means IN {{purchase:Array(String)}} OR means IN {{update:Array(String)}})) AS stated,
    groupArrayIf((currency, toInt128(minor)), currency != '' AND means IN {{line:Array(String)}}) AS lines,
    groupArrayIf((currency, toInt128(minor), day), currency != '' AND means IN {{refund:Array(String)}}) AS refunds
FROM ({_TOLD})
WHERE {_BUYS} OR (order_id != '' AND (means IN {{update:Array(String)}} OR means IN {{cancellation:Array(String)}}))
    OR (means IN {{refund:Array(String)}} AND (order_id != '' OR minor != 0))
GROUP BY customer, rev, this_order
"""

# What is left of an order, as (day, currency, minor units): nothing of one that is cancelled; of a purchase its amount,
# without one its lines, less its refunds in the same currency; the refunds of what nobody bought, each on its day.
_LEFT = f"""
SELECT
    customer, rev, today, is_bought AND NOT is_cancelled AS is_purchase, bought,
    if(stated.3 != '', [(stated.3, stated.2)],
        arrayMap(c -> (c, arraySum(arrayMap(x -> if(x.1 = c, x.2, 0), lines))), arrayDistinct(lines.1))) AS costs,
    multiIf(
        is_cancelled, [],
        is_bought, arrayMap(
            x -> (bought, x.1, greatest(x.2 - arraySum(arrayMap(y -> if(y.1 = x.1, y.2, 0), refunds)), 0)), costs),
        arrayMap(y -> (y.3, y.1, -y.2), refunds)
    ) AS money
FROM ({_ORDERS})
"""

# (customer, rev, day it is written for, last and first day of a purchase, purchases in the window, [(currency, net
# spend in the window, whether any of it is in the window)]); days are 0 without a purchase.
ORDERS = f"""
SELECT
    customer, rev, any(today), maxIf(bought, is_purchase), minIf(bought, is_purchase),
    countIf(is_purchase AND bought > today - {{window:Int32}}),
    groupArrayArray(arrayMap(x -> (x.2, x.3, x.1 > today - {{window:Int32}}), money)) AS moved,
    arrayMap(c -> (
        c, toString(arraySum(arrayMap(x -> if(x.1 = c AND x.3, x.2, 0), moved))),
        arrayExists(x -> x.1 = c AND x.3, moved)), arrayDistinct(moved.1))
FROM ({_LEFT})
GROUP BY customer, rev ORDER BY customer
SETTINGS max_bytes_before_external_group_by = 1000000000, max_bytes_before_external_sort = 1000000000
"""
