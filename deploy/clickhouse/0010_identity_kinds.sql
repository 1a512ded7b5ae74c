-- What else the graph tells since people correct it: links taken back, unlinks not done, suggestions refused.
ALTER TABLE identity_changes_raw COMMENT COLUMN kind
    'linked | merged | split | unlinked | erased | conflict | blocked | refused | declined';
ALTER TABLE identity_changes_raw COMMENT COLUMN from_id
    'merged: the customer that ended; split: the one it was taken from; conflict, refused: the other one; declined: who was thought to have it';
ALTER TABLE identity_changes_raw COMMENT COLUMN nodes
    'node texts of the customer after the change, the full list; unlinked, conflict, blocked, refused, declined: those concerned';
