"""Whether the topics that are read keep records as long as the longest outage that is to be survived.

Judged at every start, beside the log's identity: what retention takes before it was read is lost without a sound until
then, and a broker's settings change behind our back. The asking is offsets.topic_configs.
"""

from collections.abc import Iterable, Mapping

from services.chassis.errors import Fatal
from services.chassis.logs import get_logger
from services.chassis.settings import SharedSettings
from services.chassis.topics import Topic, load_topics

FOREVER = "-1"
STAMP = "LogAppendTime"


def assert_retained(found: Mapping[str, Mapping[str, str | None]], settings: SharedSettings) -> None:
    """Refuse topics that forget too early; what only the local stack may be without is logged.

    `found`: topic name → its settings as the broker says. Raises Fatal naming topic, setting, value and what to do.
    """
    known = load_topics()
    wrong: list[str] = []
    unsaid: list[str] = []
    for name, configs in found.items():
        if name not in known:
            continue
        for key, value, expected in _judged(known[name], configs, settings.least_retention_ms):
            (unsaid if value is None else wrong).append(f"{name}: {key} is {value or 'not said'}, must be {expected}")
    if wrong:
        raise Fatal(
            "Kafka may take records away before they are read: "
            + "; ".join(wrong)
            + ". Change it with kafka-configs.sh --alter --entity-type topics, or set TOUCHSTREAM_LEAST_RETENTION_MS to"
            " the longest outage that is to be survived."
        )
    if unsaid and not settings.relaxed_durability:
        raise Fatal(
            "Kafka does not say how long it keeps records: "
            + "; ".join(unsaid)
            + ". Allow DescribeConfigs on these topics to the services' user. (A broker for trying out may be silent:"
            " TOUCHSTREAM_RELAXED_DURABILITY=true.)"
        )
    if unsaid:
        get_logger().warning("kafka.relaxed", text="the broker does not say: " + "; ".join(unsaid))


def _judged(topic: Topic, found: Mapping[str, str | None], least_ms: int) -> Iterable[tuple[str, str | None, str]]:
    """(setting, value, what it must be) of everything that is not right; value None: the broker did not say."""
    stamp = found.get("message.timestamp.type")
    if stamp != STAMP:
        yield "message.timestamp.type", stamp, STAMP
    if topic.cleanup == "compact":
        return  # the last value of a key stays
    least = least_ms or topic.retention_ms
    kept = found.get("retention.ms")
    if kept is None or (kept != FOREVER and int(kept) < least):
        yield "retention.ms", kept, f"at least {least}"
    # Brokers have no limit by default and need not say so. A limit is no promise of time at all.
    size = found.get("retention.bytes", FOREVER)
    if size not in (FOREVER, None):
        yield "retention.bytes", size, FOREVER
