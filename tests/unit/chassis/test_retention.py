"""A topic that forgets before it is read is refused at the start, with what to change."""

import pytest
from structlog.testing import capture_logs

from services.chassis.errors import Fatal
from services.chassis.kafka.retention import assert_retained
from services.chassis.settings import SharedSettings

WEEK_MS = 604_800_000


def settings(**fields: object) -> SharedSettings:
    return SharedSettings(**fields)  # type: ignore[arg-type]


def judge(configs: dict[str, str | None], topic: str = "touchpoints", **fields: object) -> None:
    assert_retained({topic: {"message.timestamp.type": "LogAppendTime", **configs}}, settings(**fields))


@pytest.mark.parametrize("kept", [str(WEEK_MS), str(4 * WEEK_MS), "-1"])
def test_a_topic_kept_as_long_as_the_table_says_is_read(kept: str) -> None:
    judge({"retention.ms": kept, "retention.bytes": "-1"})


def test_a_topic_kept_shorter_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        Fatal, match=f"touchpoints: retention.ms is 3600000, must be at least {WEEK_MS}.*LEAST_RETENTION_MS"
    ):
        judge({"retention.ms": "3600000"})


def test_a_setting_allows_less_and_no_less_than_that() -> None:
    judge({"retention.ms": "3600000"}, least_retention_ms=3_600_000)
    with pytest.raises(Fatal, match="at least 3600001"):
        judge({"retention.ms": "3600000"}, least_retention_ms=3_600_001)


def test_a_limit_in_bytes_is_no_promise_of_time() -> None:
    with pytest.raises(Fatal, match=r"retention.bytes is 1000000, must be -1"):
        judge({"retention.ms": "-1", "retention.bytes": "1000000"})


def test_a_clients_clock_must_not_steer_retention() -> None:
    with pytest.raises(Fatal, match=r"message.timestamp.type is CreateTime, must be LogAppendTime"):
        judge({"retention.ms": "-1", "message.timestamp.type": "CreateTime"})


def test_of_a_compacted_topic_the_last_values_stay_whatever_retention_says() -> None:
    judge({"retention.ms": "1"}, "profiles")


def test_a_silent_broker_is_refused() -> None:
    with pytest.raises(Fatal, match=r"does not say.*retention.ms is not said.*DescribeConfigs"):
        judge({})


def test_a_silent_broker_is_good_enough_for_the_local_stack_and_that_is_logged() -> None:
    with capture_logs() as lines:
        judge({}, relaxed_durability=True)
    assert [line["event"] for line in lines] == ["kafka.relaxed"]


def test_relaxed_durability_does_not_excuse_what_the_broker_says() -> None:
    with pytest.raises(Fatal, match=r"retention.ms is 1,"):
        judge({"retention.ms": "1"}, relaxed_durability=True)
