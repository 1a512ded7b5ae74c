"""Apache Kafka on this machine, without Docker: one broker or three, from Maven Central, for tests and trials."""
