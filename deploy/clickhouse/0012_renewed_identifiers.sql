-- An identifier that a newer owner took over (moved), or that was not seen for too long (expired), has a node of its own
-- since; what happened under the former one stays its customer's.
ALTER TABLE identity_changes_raw COMMENT COLUMN kind
    'linked | merged | split | unlinked | erased | conflict | blocked | refused | declined | moved | expired | quarantined | released';
ALTER TABLE identity_changes_raw COMMENT COLUMN from_id
    'merged: the customer that ended; split, moved: the one it was taken from; conflict, refused, quarantined: the other one; declined: who was thought to have it';
ALTER TABLE identity_changes_raw COMMENT COLUMN nodes
    'node texts of the customer after the change, the full list; moved, expired: the new node, the former one, the identifier; unlinked, conflict, blocked, refused, declined, quarantined: those concerned';

CREATE OR REPLACE VIEW renewed_identifiers AS
SELECT r.identifier AS identifier, r.node AS current_node, ifNull(i.customer_id, '') AS customer_id, r.since_g AS since_g
FROM
(
    SELECT nodes[3] AS identifier, argMax(nodes[1], g) AS node, max(g) AS since_g
    FROM identity_changes_raw WHERE kind IN ('moved', 'expired') GROUP BY identifier
) AS r
LEFT ANY JOIN
(
    SELECT m.node AS node, argMax(m.customer_id, m.g) AS customer_id FROM identifier_map AS m GROUP BY m.node
) AS i ON i.node = r.node;
