"""`touchstream rebuild`: everything in Redis anew, from Kafka and ClickHouse, equal to what was there."""
