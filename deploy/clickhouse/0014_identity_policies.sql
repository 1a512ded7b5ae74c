-- A change of the identity policy is a change of the graph like any other: it is told by the first batch under it, in
-- the order of all that was decided. What was decided under which policy: the last one with batch <= that of the row.
ALTER TABLE identity_changes_raw COMMENT COLUMN kind
    'linked | merged | split | unlinked | erased | conflict | blocked | refused | declined | moved | expired | quarantined | released | policy';
ALTER TABLE identity_changes_raw COMMENT COLUMN from_id
    'merged: the customer that ended; split, moved: the one it was taken from; conflict, refused, quarantined: the other one; declined: who was thought to have it; policy: the version it replaced';
ALTER TABLE identity_changes_raw COMMENT COLUMN nodes
    'node texts of the customer after the change, the full list; moved, expired: the new node, the former one, the identifier; unlinked, conflict, blocked, refused, declined, quarantined: those concerned; policy: its version';
ALTER TABLE identity_changes_raw COMMENT COLUMN reason
    'why, for people; policy: its rules as JSON';

CREATE OR REPLACE VIEW identity_policies AS
SELECT row_number() OVER (ORDER BY g) AS number, nodes[1] AS version, from_id AS replaced, occurred_at AS since, batch, g, reason AS rules
FROM (SELECT DISTINCT g, nodes, from_id, occurred_at, batch, reason FROM identity_changes_raw WHERE kind = 'policy');
