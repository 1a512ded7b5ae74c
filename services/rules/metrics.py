"""Metrics of rules beyond those of the loop. Rule names come from the folder: a short list that operators write."""

from services.chassis import metrics

CHANGES = metrics.counter("rules", "changes", "profile changes by what became of them", ["outcome"])
SKIPPED, NOT_NAMED, EVALUATED = (CHANGES.labels(what) for what in ("skipped_by_header", "not_named", "evaluated"))
FIRED = metrics.counter("rules", "fired", "triggers written", ["rule"])
SUPPRESSED = metrics.counter("rules", "suppressed", "rules whose moment came and that did not fire", ["rule", "reason"])
ERRORS = metrics.counter("rules", "evaluation_errors", "conditions without a value", ["rule", "kind"])
FIRED_S = metrics.histogram("rules", "accepted_to_fired_seconds", "touchpoint accepted by ingest to rule fired")
HANDOVERS = metrics.counter("rules", "handovers", "rule states handed over by merges and splits", ["side"])
WAITING = metrics.gauge("rules", "waiting_customers", "customers waiting for a hand-over", ["partition"])
RELOADS = metrics.counter("rules", "reloads", "new versions of the rules folder", ["result"])
LOADED = metrics.gauge("rules", "loaded_rules", "rules in force")
REFUSED = metrics.gauge("rules", "folder_refused", "1 while the folder holds a version that was refused")
