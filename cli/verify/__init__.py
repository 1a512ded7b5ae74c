"""`touchstream verify`: counts recomputed from topics, Redis and ClickHouse; a file per hop, and what they share."""
