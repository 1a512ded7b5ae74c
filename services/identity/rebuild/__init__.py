"""identity's Redis from its log, for `touchstream rebuild`: survey.py (in which order it decided), older.py (what
retention took, from ClickHouse), replay.py (what it decides), outputs.py (whether that is what was sent)."""
