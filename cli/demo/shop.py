"""What happens in the shop: a story per person, from the seed alone. Ages of history keep clear of every threshold.

Profile's day limits (30, 90, 180, 365) are business days; a story that stays two days away from them means the same
whenever the demo runs, also across midnight.
"""

from collections.abc import Callable, Iterator
from random import Random

from cli.demo.acts import DAY_MS, Acts, Planned
from cli.demo.people import Person, make_person

LIMITS_DAYS = (30, 90, 180, 365)
MARGIN_DAYS = 2
SERVICE = ("Service Ticket Opened", "Satisfaction Rated")
SOCIAL = ("Message Opened", "Message Replied", "Message Clicked", "Message Replied")
# History is written with a place before the play begins.
BEFORE = -1.0


def age_ms(days: float) -> int:
    """That many days in ms, moved off the days around a limit."""
    for limit in LIMITS_DAYS:
        if abs(days - limit) <= MARGIN_DAYS:
            days = limit - MARGIN_DAYS - (limit - days + MARGIN_DAYS) / 100
    return int(days * DAY_MS)


def newcomer(acts: Acts, random: Random) -> None:
    """Looks around unknown, on one device or more; registers; buys; is recognised on the other devices later."""
    first, *others = acts.person.devices
    at = random.uniform(0.0, 0.55)
    for _ in range(random.randint(2, 6)):
        acts.view(at, first)
        at += random.uniform(0.004, 0.015)
    for device in others:
        for n in range(random.randint(1, 3)):
            acts.view(at + 0.01 * n, device)
    if random.random() < 0.12:
        return
    at += 0.02
    if random.random() < 0.1:
        acts.alias(at, first)
    else:
        acts.identify(at, first)
    acts.register(at + 0.002)
    at = _shopping(acts, random, at + 0.02, buys=0.6)
    for device in others:
        at += random.uniform(0.03, 0.1)
        acts.identify(at, device)
        acts.do(at + 0.002, "Logged In")
        acts.view(at + 0.01, device, is_known=True)
    if acts.person.external_userid and random.random() < 0.7:
        _wecom(acts, random, at)


def visitor(acts: Acts, random: Random) -> None:
    """Looks around and leaves without a name."""
    at = random.uniform(0.0, 0.9)
    for _ in range(random.randint(1, 4)):
        acts.view(at, acts.person.devices[0])
        at += random.uniform(0.005, 0.02)
    if random.random() < 0.2:
        acts.cart(at, acts.person.devices[0], is_known=False)


def regular(acts: Acts, random: Random) -> None:
    """A year of orders, a visit today, on a new device at first."""
    oldest = random.uniform(150, 355)
    _past(acts, random, oldest, newest=random.uniform(3, 75), orders=random.choice((1, 2, 2, 3, 4, 5, 6, 8)))
    at = random.uniform(0.05, 0.6)
    device = acts.person.devices[-1]
    for _ in range(random.randint(1, 3)):
        acts.view(at, device)
        at += random.uniform(0.005, 0.02)
    acts.identify(at, device)
    acts.do(at + 0.002, "Logged In")
    at = _shopping(acts, random, at + 0.02, buys=0.35)
    if acts.person.external_userid and random.random() < 0.5:
        _wecom(acts, random, at)


def quiet(acts: Acts, random: Random) -> None:
    """Was here once: 31 days to two years of silence. A few come back today."""
    newest = random.choice((random.uniform(35, 85), random.uniform(95, 175), random.uniform(185, 355),
                            random.uniform(372, 700)))  # fmt: skip
    _past(acts, random, newest + random.uniform(10, 200), newest, orders=random.choice((0, 0, 1, 1, 2, 3)))
    if random.random() < 0.12:
        at = random.uniform(0.1, 0.7)
        acts.do(at, "Logged In")
        _shopping(acts, random, at + 0.02, buys=0.4)


def late_contact(acts: Acts, random: Random) -> None:
    """Somebody an outside system tells of only now: last seen weeks or months ago."""
    if random.random() < 0.5:
        acts.do(random.uniform(0.1, 0.9), "Logged In", age_ms=age_ms(random.uniform(40, 80)))
    else:
        acts.do(random.uniform(0.1, 0.9), "Sales Visit Logged", {"by": "CRM"}, age_ms(random.uniform(100, 170)))


STORIES: tuple[tuple[Callable[[Acts, Random], None], int, int], ...] = (
    # story, weight, most devices
    (newcomer, 36, 3),
    (visitor, 20, 1),
    (regular, 26, 2),
    (quiet, 16, 1),
    (late_contact, 2, 1),
)


def stories(run: int, token: str, seed: int, at_least: int) -> Iterator[tuple[Person, list[Planned]]]:
    """People and what they do, until there are `at_least` events. The first people's stories come in every size."""
    random = Random(seed)
    weights = [weight for _, weight, _ in STORIES]
    count = place = 0
    while count < at_least:
        story, _, most = random.choices(STORIES, weights)[0]
        person = make_person(run, token, place, random, random.randint(1, most))
        events: list[Planned] = []
        story(Acts(person, random, events), random)
        yield person, events
        count, place = count + len(events), place + 1


def _shopping(acts: Acts, random: Random, at: float, buys: float) -> float:
    """Carts, coupons, orders, refunds, questions; returns when it ended."""
    device = acts.person.devices[0]
    for _ in range(random.randint(0, 3)):
        acts.view(at, device, is_known=True)
        at += 0.008
    acts.cart(at, device, is_known=True)
    if random.random() < buys:
        coupon = "WELCOME10" if random.random() < 0.3 else ""
        if coupon:
            acts.do(at + 0.004, "Coupon Applied", {"coupon": coupon})
        order = acts.buy(at + 0.01, coupon=coupon)
        at += 0.03
        if random.random() < 0.25:
            acts.buy(at)
        if random.random() < 0.12:
            acts.do(at + 0.01, SERVICE[0], {"topic": "return"})
            acts.refund(at + 0.04, order)
            acts.do(at + 0.06, SERVICE[1], {"stars": random.randint(1, 5)})
    return at + 0.02


def _wecom(acts: Acts, random: Random, at: float) -> None:
    """Messages in WeCom: unknown there at first, then added as a contact."""
    for _ in range(random.randint(1, 7)):
        acts.wecom(at, random.choice(SOCIAL), is_linked=False)
        at += random.uniform(0.004, 0.012)
    acts.wecom(at, "WeCom Contact Added", is_linked=True)
    if random.random() < 0.3:
        acts.do(at + 0.01, "Content Shared", {"channel": "wecom"})


def _past(acts: Acts, random: Random, oldest: float, newest: float, orders: int) -> None:
    """History from `oldest` to `newest` days ago, both ends included; the last thing is an order or a login."""
    device = acts.person.devices[0]
    acts.identify(BEFORE, device, age_ms(oldest))
    acts.register(BEFORE, age_ms(oldest))
    for n in range(orders):
        is_last = n == orders - 1
        days = newest if is_last else random.uniform(newest, oldest)
        order = acts.buy(BEFORE, age_ms(days))
        if random.random() < 0.08 and not is_last:
            acts.refund(BEFORE, order, age_ms(max(newest, days - 5)))
    for _ in range(random.randint(1, 3)):
        acts.do(BEFORE, random.choice(("Logged In", "Message Opened", "Product Viewed")),
                age_ms=age_ms(random.uniform(newest, oldest)))  # fmt: skip
    if not orders:
        acts.do(BEFORE, "Logged In", age_ms=age_ms(newest))
