"""`touchstream quality`: what sources send, what they leave out, where they disagree; asked of ClickHouse."""
