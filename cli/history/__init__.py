"""`touchstream identity history`: what happened to an identifier or a customer, from ClickHouse."""
