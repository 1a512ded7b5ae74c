"""profile's Redis from its log, for `touchstream rebuild`: known.py (what was sent last), lane.py, replay.py."""
