"""Metrics of profile beyond those of the loop."""

from services.chassis import metrics

FACTS = metrics.counter("profile", "facts", "records of profile.changes", ["kind"])
TAGS = metrics.counter("profile", "tag_changes", "tags that began or ended", ["tag", "change"])
STAGES = metrics.counter("profile", "stage_changes", "transitions into a stage", ["stage"])
WAITING = metrics.gauge("profile", "waiting_customers", "customers that wait for a hand-over", ["partition"])
REPEATED = metrics.counter("profile", "log_numbers_repeated", "records whose number in the customer's log was taken")
TICKS = metrics.counter("profile", "timers_fired", "customers looked at because time passed")
UNRATED = metrics.counter("profile", "unrated_amounts", "amounts of orders in a currency that has no rate")
REFOLDS_REFUSED = metrics.counter(
    "profile", "refolds_refused", "customers whose measures could not be taken: their events are not the same"
)
THRESHOLDS = metrics.gauge("profile", "thresholds_version", "version of the RFM thresholds in use")
THRESHOLDS_FAILED = metrics.counter("profile", "thresholds_failures", "attempts that brought no new RFM thresholds")
EVENT_TO_FACT_S = metrics.histogram(
    "profile", "accepted_to_profile_seconds", "accepted by ingest → profile changed, the oldest event of each batch"
)
