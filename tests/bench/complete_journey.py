"""What we say of 2,377 households against the coupons they redeemed: `python -m tests.bench.complete_journey`.

84.51° Complete Journey: lines through the shipped mapping, put together to one Order Completed with its products per
basket, as a shop sends it; coupons through theirs; then ingest's core, the fold and the shipped tags, as `customers
--as-of 2017-12-31` computes them. What a household bought decides the groups by price and score; how it answered the
campaigns it was mailed is from another file (to the tags below, a redeemed coupon is an interaction). If a group says
something about people, its answers differ from the others'. `answered`: of the mailed households, those who redeemed a
coupon of a campaign; `of mailings`: (household, campaign) pairs answered; coupons are per mailed household.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any, TypeAlias

import msgspec

from cli.customer_facts import Customer
from cli.customers_as_of import customers_as_of
from services.ingest.core.model import Accepted, Arrival, Touchpoint
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge
from services.profile.core.configuration import parse_config
from tests.real_data import RECEIVED_MS, ROOT, data_file, event_row, touchpoints
from tests.unit.profile.profile_builders import SHIPPED

Message: TypeAlias = dict[str, Any]
DAY = date(2017, 12, 31)
CONFIG = {"time_zone": "America/New_York", "currency": "USD"}
MAPPINGS = ROOT / "deploy/config/mappings"
# price_sensitive with fewer coupons: the sample has one line or two of a basket, so most coupons are not in it.
SOFTER = {
    f"price_sensitive_{share}": {
        "group": "preference",
        "if": f"orders(365) >= 3 and coupon_orders(365) * {share} >= orders(365)"
        " and discounted_items(365) * 2 >= items(365) and items(365) > 0",
    }
    for share in (5, 10, 20)
}


@dataclass
class Household:
    """What its baskets and its answers say; the profile as of DAY."""

    baskets: dict[str, Message] = field(default_factory=dict)
    mailed: set[str] = field(default_factory=set)
    redeemed: Counter[str] = field(default_factory=Counter)  # campaign → coupons
    profile: Customer | None = None

    def add(self, one: Touchpoint) -> None:
        """A line of a basket, or a redeemed coupon."""
        said = msgspec.json.decode(one.properties)
        if not one.order_id:
            self.redeemed[str(said["campaign_id"])] += 1
            return
        basket = self.baskets.setdefault(one.order_id, new_basket(one))
        properties = basket["properties"]
        properties["total"] += one.amount_minor / 100
        properties["products"].append({name: said[name] for name in ("product_id", "quantity", "discount")})
        if "coupon" in said:
            properties["coupon"] = said["coupon"]

    def tags(self) -> set[str]:
        """Names of the tags it holds."""
        return {tag.name for tag in self.profile.tags} if self.profile is not None else set()

    def has_coupon(self) -> bool:
        """Whether some basket has one."""
        return any("coupon" in basket["properties"] for basket in self.baskets.values())


def new_basket(one: Touchpoint) -> Message:
    """An empty Order Completed of a line's basket."""
    return {
        "type": "track", "event": "Order Completed", "messageId": f"basket-{one.order_id}",
        "userId": one.identifiers[0].removeprefix("user_id:"),
        "timestamp": datetime.fromtimestamp(one.occurred_at / 1000, UTC).isoformat(),
        "properties": {"order_id": one.order_id, "currency": one.currency, "total": 0.0, "products": []},
    }  # fmt: skip


def load() -> dict[str, Household]:
    """Every household that bought something in the sample."""
    households: dict[str, Household] = defaultdict(Household)
    coupons = list(
        touchpoints(data_file("complete_journey/coupon_redemptions.csv"), MAPPINGS / "complete_journey_coupons.yaml")
    )
    lines = touchpoints(data_file("complete_journey/transactions_sample.csv.gz"), MAPPINGS / "complete_journey.yaml")
    for one in chain(coupons, lines):
        households[one.identifiers[0]].add(one)
    for row in csv.DictReader(data_file("complete_journey/campaigns.csv").open(encoding="utf-8")):
        households[f"user_id:{row['household_id']}"].mailed.add(row["campaign_id"])
    bought = {name: one for name, one in households.items() if one.baskets}
    events = [accepted(basket) for one in bought.values() for basket in one.baskets.values()]
    events += [one for one in coupons if one.identifiers[0] in bought]
    rows = sorted((event_row(one, number) for number, one in enumerate(events)), key=lambda row: row[0])
    config = parse_config(CONFIG, SHIPPED | {"tags": SHIPPED["tags"] | SOFTER})
    for customer in customers_as_of(iter(rows), dict, (DAY - date(1970, 1, 1)).days, config, lambda count: None):
        bought[customer.customer_id].profile = customer
    return bought


def accepted(message: Message) -> Touchpoint:
    """What ingest makes of it."""
    message["properties"]["total"] = round(message["properties"]["total"], 2)
    verdict = judge(msgspec.json.encode(message), Arrival(Source("shop"), RECEIVED_MS, is_import=True), str)
    assert isinstance(verdict, Accepted), verdict
    return verdict.touchpoint


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
    line("price_sensitive (half of the baskets)", [one for one in households if "price_sensitive" in one.tags()])
    for share in (5, 10, 20):
        found = [one for one in households if f"price_sensitive_{share}" in one.tags()]
        line(f"price_sensitive, one basket in {share}", found)
    line("a coupon in some basket", [one for one in households if one.has_coupon()])
    line("no coupon in any basket", [one for one in households if not one.has_coupon()])
    for letter in "rfm":
        for value in range(1, 6):
            found = [one for one in households if getattr(one.profile, letter) == value]
            line(f"{letter.upper()} score {value}", found)
    for name in sorted({name for one in households for name in one.tags()} - SOFTER.keys() - {"price_sensitive"}):
        line(name, [one for one in households if name in one.tags()])


if __name__ == "__main__":
    main()
