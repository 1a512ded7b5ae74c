"""What we say of 2,377 households against the coupons they redeemed: `python -m tests.bench.complete_journey`.

84.51° Complete Journey through the shipped mappings and ingest's core, folded as `customers --as-of 2017-12-31` does.
What a household bought decides the groups (baskets with a coupon, items discounted, R, F and M); how it answered the
campaigns it was mailed is from another file and decides none of them. If a group says something about people, its
answers differ from the others'. `answered`: of the households that were mailed, those who redeemed a coupon of a
campaign; `of mailings`: (household, campaign) pairs answered; coupons are per mailed household.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date

import msgspec

from cli.customer_facts import Customer
from cli.customers_as_of import customers_as_of
from services.profile.core.configuration import parse_config
from tests.real_data import ROOT, data_file, event_row, touchpoints
from tests.unit.profile.profile_builders import SHIPPED

DAY = date(2017, 12, 31)
CONFIG = {"time_zone": "America/New_York", "currency": "USD"}
MAPPINGS = ROOT / "deploy/config/mappings"


@dataclass
class Household:
    """What its baskets and its answers say; the profile as of DAY."""

    baskets: dict[str, bool] = field(default_factory=dict)  # order id → with a coupon
    items: int = 0
    discounted: int = 0
    mailed: set[str] = field(default_factory=set)
    redeemed: Counter[str] = field(default_factory=Counter)  # campaign → coupons
    profile: Customer | None = None

    def coupon_share(self) -> float:
        """Of its baskets, those with a coupon."""
        return sum(self.baskets.values()) / len(self.baskets) if self.baskets else 0.0

    def discount_share(self) -> float:
        """Of its items, those with a discount."""
        return self.discounted / self.items if self.items else 0.0

    def is_sensitive(self, coupons: float, discounts: float) -> bool:
        """As the tag price_sensitive, with other shares."""
        return len(self.baskets) >= 3 and self.coupon_share() >= coupons and self.discount_share() >= discounts


def load() -> dict[str, Household]:
    """Every household that bought something in the sample."""
    households: dict[str, Household] = defaultdict(Household)
    rows = []
    for name, mapping in (
        ("transactions_sample.csv.gz", "complete_journey"),
        ("coupon_redemptions.csv", "complete_journey_coupons"),
    ):
        for one in touchpoints(data_file(f"complete_journey/{name}"), MAPPINGS / f"{mapping}.yaml"):
            rows.append(event_row(one, len(rows)))
            household, said = households[one.identifiers[0]], msgspec.json.decode(one.properties)
            if one.order_id:
                household.baskets[one.order_id] = household.baskets.get(one.order_id, False) or "coupon" in said
                household.items += 1
                household.discounted += said["discount"] > 0
            else:
                household.redeemed[str(said["campaign_id"])] += 1
    for row in csv.DictReader(data_file("complete_journey/campaigns.csv").open(encoding="utf-8")):
        households[f"user_id:{row['household_id']}"].mailed.add(row["campaign_id"])
    rows.sort(key=lambda row: row[0])
    config = parse_config(CONFIG, SHIPPED)
    for customer in customers_as_of(iter(rows), dict, (DAY - date(1970, 1, 1)).days, config):
        households[customer.customer_id].profile = customer
    return {name: one for name, one in households.items() if one.baskets}


def line(label: str, group: Iterable[Household]) -> None:
    """One line of the table."""
    some = list(group)
    mailed = [one for one in some if one.mailed]
    answers = sum(len(one.mailed & one.redeemed.keys()) for one in mailed)
    mailings = sum(len(one.mailed) for one in mailed)
    if not mailed:
        print(f"{label:<46}{len(some):>7,}{0:>7}")
        return
    print(
        f"{label:<46}{len(some):>7,}{len(mailed):>7,}{sum(1 for one in mailed if one.redeemed) / len(mailed):>10.1%}"
        f"{answers / mailings:>13.1%}{sum(one.redeemed.total() for one in mailed) / len(mailed):>9.2f}"
    )


def main() -> None:
    """Print the table."""
    households = load().values()
    print(f"{'':<46}{'people':>7}{'mailed':>7}{'answered':>10}{'of mailings':>13}{'coupons':>9}")
    line("all", households)
    groups: list[tuple[str, Callable[[Household], bool]]] = [
        ("price_sensitive: >= half of baskets, items", lambda one: one.is_sensitive(0.5, 0.5)),
        ("coupon in >= 1/5 of baskets, half of items", lambda one: one.is_sensitive(0.2, 0.5)),
        ("coupon in >= 1/10 of baskets, half of items", lambda one: one.is_sensitive(0.1, 0.5)),
        ("coupon in >= 1/20 of baskets, half of items", lambda one: one.is_sensitive(0.05, 0.5)),
        ("a coupon in some basket", lambda one: one.coupon_share() > 0),
        ("no coupon in any basket", lambda one: one.coupon_share() == 0),
        ("half of items discounted, no coupon", lambda one: not one.coupon_share() and one.discount_share() >= 0.5),
        ("fewer discounted, no coupon", lambda one: not one.coupon_share() and one.discount_share() < 0.5),
    ]  # fmt: skip
    for label, holds in groups:
        line(label, [one for one in households if holds(one)])
    for letter in "rfm":
        for value in range(1, 6):
            line(
                f"{letter.upper()} score {value}", [one for one in households if getattr(one.profile, letter) == value]
            )


if __name__ == "__main__":
    main()
