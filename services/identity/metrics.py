"""Metrics of identity beyond those of the loop."""

from services.chassis import metrics

DUPLICATES = metrics.counter("identity", "client_duplicates_dropped", "touchpoints whose message id was seen before")
ERASED = metrics.counter("identity", "erased_dropped", "touchpoints for identifiers that were erased")
UNTOLD = metrics.counter("identity", "refusals_untold", "refused links that had been announced before")
CHANGES = metrics.counter("identity", "changes", "changes of the graph", ["kind"])
POLICY = metrics.gauge("identity", "policy_number", "number of the policy that holds; rises with every other one")
PURGED = metrics.counter("identity", "message_buckets_purged", "buckets of message ids that left the window")
SCRIPT_S = metrics.histogram("identity", "script_seconds", "one call of the graph script")
