"""Money in a currency without a rate: conditions leave it out, and where there is no other they know nothing."""

import pytest
from structlog.testing import capture_logs

from services.chassis.testing.fake_ledger import FakeLedger
from services.profile import metrics
from services.profile.core.configuration import parse_config
from services.profile.handler import ProfileHandler
from tests.property.customer_log.graph_feed import TOUCHPOINT
from tests.regression.test_customer_log import SLOT
from tests.regression.test_customer_log import event as record
from tests.unit.profile.profile_builders import CONFIG, NOW_MS, SHIPPED, concluded, config_with, purchase, refund

USD = {"currency": "USD"}
RATES = {"rates": {"as_of": "2026-11-01", "to_main": {"USD": 7}}}


def says(condition, *events, rates=False):
    tags = {"own": {"if": condition}}
    data = SHIPPED | {"tags": tags, "segments": {}}
    return "own" in concluded(*events, config=parse_config(RATES if rates else None, data))[0].tags


@pytest.mark.parametrize("condition", [
    "spend(30) > 0", "spend(30) < 100", "spend(30) == 10", "spend(30) != 10", "spend() >= 0",
    "spend(30) / orders() > 0",
    "percentile(spend) >= 0", "percentile(spend) < 200", "percentile(order_value) >= 0", "spend(30) in [10, 0]",
])  # fmt: skip
def test_of_dollars_alone_nothing_is_known_without_a_rate(condition):
    dollars = purchase(1, 1_000, **USD)
    assert not says(condition, dollars)
    assert says(f"not {condition}", dollars)
    assert not says(f"not ({condition}) and orders() == 2", dollars)


def test_with_a_rate_they_are_spend():
    assert says("spend(30) == 70", purchase(1, 1_000, **USD), rates=True)
    assert says("spend(30) == 80", purchase(1, 1_000, **USD), purchase(1, 1_000), rates=True)


def test_beside_the_main_currency_they_are_left_out():
    assert says("spend(30) == 10", purchase(1, 1_000), purchase(1, 900_000, **USD))
    assert says("percentile(spend) == 9", purchase(1, 1_000), purchase(1, 900_000, **USD))


@pytest.mark.parametrize(("days_ago", "is_known"), [(29, False), (30, True)])
def test_only_what_is_in_the_window_hides_spend(days_ago, is_known):
    assert says("spend(30) == 0", purchase(days_ago, 1_000, **USD)) is is_known


def test_nothing_of_another_currency_is_nothing():
    assert says("spend(30) == 0", purchase(1, 0, **USD))
    assert says("spend(30) == 0", purchase(1, 500, order_id="A", **USD), refund(1, 500, order_id="A", **USD))


def test_a_reason_does_not_tell_a_number_that_nobody_knows():
    config = config_with(tags={"own": {"if": "orders() == 1", "reason": "spent {spend(30)}"}})
    assert concluded(purchase(1, 1_000, **USD), config=config)[0].tags["own"].reason == "spent unknown"


def paid(n, currency, minor=500, name="Order Completed"):
    """A record of touchpoints.resolved with money."""
    one = record("a", n, f"1.0.{n}", name)
    fields = {"order_id": f"O{n}", "amount_minor": minor, "currency": currency}
    one.value = TOUCHPOINT.encode(TOUCHPOINT.decode(one.value) | fields)
    return one


def told(config, *records):
    """(how far the counter went, currencies of the log lines) for these records."""
    before = metrics.UNRATED._value.get()
    with capture_logs() as lines:
        ProfileHandler(SLOT, FakeLedger(), {}, config, 1, lambda: None, 0).decide(list(records), [], NOW_MS)
    named = [line["currencies"] for line in lines if line["event"] == "money.unrated"]
    return metrics.UNRATED._value.get() - before, named


def test_every_amount_that_is_left_out_is_counted_and_its_currency_logged():
    records = paid(1, "USD"), paid(2, "CNY"), paid(3, "EUR", name="Order Refunded"), paid(4, "USD"), paid(5, "USD", 0)
    assert told(CONFIG, *records) == (3, [["EUR", "USD"]])
    assert told(parse_config(RATES, SHIPPED), *records) == (1, [["EUR"]])
    assert told(CONFIG, paid(1, "CNY"), paid(2, "USD", name="Product Viewed")) == (0, [])
