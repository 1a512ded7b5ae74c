"""`touchstream verify profiles`: what the system says of its customers against a computation over all their events."""
