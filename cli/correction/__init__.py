"""`touchstream correction`: staff correct a profile, one asks and another one approves."""
