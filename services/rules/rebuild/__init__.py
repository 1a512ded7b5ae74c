"""rules' Redis from its log, for `touchstream rebuild`: recorded.py (what had fired), replay.py."""
