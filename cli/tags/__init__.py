"""`touchstream tags` and `touchstream segments`: what is defined, whom it would touch, who is in it."""
