"""profile's Redis from its log, for `touchstream rebuild`.

replay.py works off the records behind the changes (input.py) at the moments of those (decided.py) and holds the
snapshots against known.py; past.py goes before it where retention has taken changes (older.py). lane.py: a partition.
"""
