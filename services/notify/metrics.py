"""What the notifier counts. Label values come from closed lists: channels, statuses and the destinations file."""

from services.chassis.kafka.debts import RECOVERY_BUCKETS_S
from services.chassis.metrics import counter, gauge, histogram

SERVICE = "notify"

records = counter(SERVICE, "records", "triggers accepted, their intents durable", ["topic"])
duplicates = counter(SERVICE, "duplicates_dropped", "triggers whose deliveries were all known already", ["topic"])
gaps = counter(SERVICE, "gaps", "sequence numbers missing among the triggers received; must stay 0")
dead_letters = counter(SERVICE, "dead_letters", "triggers that could not be read, kept in notify.dead", ["topic"])
lag = gauge(SERVICE, "lag_records", "triggers in the log whose intents are not durable yet", ["topic", "partition"])
outputs = counter(SERVICE, "outputs", "records produced and acknowledged", ["topic"])
deliveries = counter(SERVICE, "deliveries", "deliveries ended, by how", ["channel", "status"])
attempts = counter(SERVICE, "attempts", "sends by what they came to", ["channel", "result"])
retries = counter(SERVICE, "retries", "sends put off after a failure", ["channel"])
fenced = counter(SERVICE, "fenced", "outcomes dropped because another replica had taken the delivery over")
failures = counter(SERVICE, "retriable_failures", "rounds given up and tried again", ["part"])
send_s = histogram(SERVICE, "send_seconds", "one send, from call to the provider's answer", ["channel"])
end_to_end_s = histogram(
    SERVICE, "end_to_end_seconds", "accepted by ingest → delivered (triggers with an event behind them)"
)
breaker_state = gauge(SERVICE, "breaker_state", "0 closed, 1 half-open, 2 open", ["destination"])
queue = gauge(SERVICE, "queue_deliveries", "deliveries waiting or under way", ["destination"])
queue_age_s = gauge(SERVICE, "queue_age_seconds", "how long the most overdue delivery is overdue", ["destination"])
recovery_s = histogram(
    SERVICE, "recovery_seconds", "from losing a partition to working on it again", ["cause"], RECOVERY_BUCKETS_S
)
outbox_age_s = gauge(SERVICE, "outbox_age_seconds", "since when the oldest finished delivery waits for its topic")
outbox = gauge(SERVICE, "outbox_records", "finished deliveries not yet known to be in the topic")
