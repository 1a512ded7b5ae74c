"""What one person can do in the shop, as the messages that Segment's SDKs would send, and what must come of each.

Written from the sender's side only: `identifiers` and `order` say what a reader of the specification expects, in
standard form, whatever spelling goes over the wire. Nothing here asks ingest's code.
"""

from dataclasses import dataclass
from random import Random

from cli.demo.people import CORP_ID, Device, Person
from cli.demo.products import PRODUCTS, Product

DAY_MS = 86_400_000
# Browsers have a public write key, the shop's own systems a secret one; history is imported.
WEB, SHOP, HISTORY = "web", "shop", "history"
Json = dict[str, object]


@dataclass(slots=True)
class Planned:
    """One event. `at`: when in the play, 0 to 1; `age_ms`: how long before the run it happened, 0 = as it is sent.

    `identifiers`: kind:value in standard form, the strongest first. `order`: (order id, minor units; a refund counts
    negative). `fault`: why ingest must refuse it, empty for a good one; `raw`: bytes to send instead of the message.
    """

    channel: str
    at: float
    message: Json
    identifiers: tuple[str, ...] = ()
    age_ms: int = 0
    order: tuple[str, int] | None = None
    fault: str = ""
    raw: bytes = b""
    message_id: str = ""


class Acts:
    """Writes one person's events into `events`."""

    def __init__(self, person: Person, random: Random, events: list[Planned]) -> None:
        self.person, self.random, self._events = person, random, events
        self._orders = 0

    def view(self, at: float, device: Device, is_known: bool = False) -> None:
        """A page, a screen or a product; with the user id once the SDK knows it."""
        product = self.random.choice(PRODUCTS)
        message: Json
        if device.device_id and self.random.random() < 0.4:
            message = {"type": "screen", "name": "Product", "properties": {"product_id": product.product_id}}
        elif self.random.random() < 0.4:
            path = f"/{product.product_id}"
            message = {"type": "page", "name": product.category, "properties": {"path": path, "title": product.name}}
        else:
            message = {"type": "track", "event": "Product Viewed", "properties": _item(product)}
        self._from_device(at, device, message, is_known)

    def cart(self, at: float, device: Device, is_known: bool) -> None:
        """Something goes into the cart."""
        properties = _item(self.random.choice(PRODUCTS)) | {"quantity": 1}
        self._from_device(at, device, {"type": "track", "event": "Product Added", "properties": properties}, is_known)

    def _from_device(self, at: float, device: Device, message: Json, is_known: bool) -> None:
        message = message | {"anonymousId": device.anonymous_id} | _context(device)
        if is_known:
            message["userId"] = self.person.user_id
        # The app's screens come through the shop's servers: the browsers' public key may not send them.
        channel = SHOP if message["type"] == "screen" else WEB
        self._events.append(Planned(channel, at, message, (*self._user(is_known), *_of(device))))

    def identify(self, at: float, device: Device, age_ms: int = 0) -> None:
        """Who uses this device: links it, and with it all that was done on it before."""
        message: Json = {
            "type": "identify", "userId": self.person.user_id, "anonymousId": device.anonymous_id,
            "traits": self._traits(),
        } | _context(device)  # fmt: skip
        self._add(at, message, (*self._named(), *_of(device)), age_ms)

    def alias(self, at: float, device: Device) -> None:
        """The same as older SDKs do it."""
        message: Json = {"type": "alias", "userId": self.person.user_id, "previousId": device.anonymous_id}
        self._add(at, message, (*self._user(), f"anonymous_id:{device.anonymous_id}"))

    def register(self, at: float, age_ms: int = 0) -> None:
        """An account is opened."""
        message: Json = {
            "type": "track", "event": "Registered", "userId": self.person.user_id,
            "properties": {"method": self.random.choice(("phone", "email", "wechat"))},
            "context": {"traits": self._traits()},
        }  # fmt: skip
        self._add(at, message, self._named(), age_ms)

    def do(self, at: float, event: str, properties: Json | None = None, age_ms: int = 0) -> None:
        """Any other event under the person's user id."""
        message: Json = {"type": "track", "event": event, "userId": self.person.user_id}
        if properties:
            message["properties"] = properties
        self._add(at, message, self._user(), age_ms)

    def buy(self, at: float, age_ms: int = 0, coupon: str = "") -> tuple[str, int]:
        """An order; returns (order id, paid in fen) for a refund."""
        self._orders += 1
        order_id = f"o-{self.person.user_id[2:]}-{self._orders}"
        items = self.random.sample(PRODUCTS, self.random.choice((1, 1, 2, 3)))
        paid = sum(item.price_minor for item in items)
        properties: Json = {"order_id": order_id, "currency": "CNY", "products": [_item(item) for item in items]}
        if coupon:
            properties["coupon"] = coupon
            paid -= paid // 10
        properties["total"] = self._amount(paid)
        self._order(at, "Order Completed", properties, (order_id, paid), age_ms)
        return order_id, paid

    def refund(self, at: float, order: tuple[str, int], age_ms: int = 0) -> None:
        """All or half of an order is given back."""
        order_id, paid = order
        back = paid if self.random.random() < 0.6 else paid // 2
        properties: Json = {"order_id": order_id, "currency": "RMB", "total": self._amount(back)}
        self._order(at, "Order Refunded", properties, (order_id, -back), age_ms)

    def wecom(self, at: float, event: str, is_linked: bool, age_ms: int = 0) -> None:
        """A message between the shop and the person in WeCom, which knows its own ids only, unless `is_linked`."""
        external: Json = {"id": self.person.external_userid, "type": "external_userid", "corp_id": CORP_ID}
        ids: list[Json] = [external]
        found = [f"external_userid:{CORP_ID}/{self.person.external_userid}"]
        if self.person.union_id and is_linked:
            ids.append({"id": self.person.union_id, "type": "unionid"})
            found.insert(0, f"union_id:{self.person.union_id}")
        message: Json = {"type": "track", "event": event, "context": {"externalIds": ids, "channel": "wecom"}}
        if is_linked:
            message["userId"] = self.person.user_id
        self._add(at, message, (*self._user(is_linked), *found), age_ms)

    def _order(self, at: float, event: str, properties: Json, order: tuple[str, int], age_ms: int) -> None:
        message: Json = {"type": "track", "event": event, "userId": self.person.user_id, "properties": properties}
        self._add(at, message, self._user(), age_ms, order)

    def _add(
        self, at: float, message: Json, identifiers: tuple[str, ...], age_ms: int = 0,
        order: tuple[str, int] | None = None,
    ) -> None:  # fmt: skip
        # An old time in a live call is a system that synchronises late; history proper has its own place in the play.
        channel = HISTORY if age_ms and at < 0 else SHOP
        self._events.append(Planned(channel, at, message, identifiers, age_ms, order))

    def _traits(self) -> Json:
        person, (province, city) = self.person, self.person.region
        traits: Json = {"name": person.name, "language": person.language, "province": province, "city": city}
        if person.phone:
            local = person.phone[3:]
            spelled = (person.phone, local, f"+86 {local[:3]} {local[3:7]} {local[7:]}", f"86-{local}")
            traits["phone"] = self.random.choice(spelled)
        if person.email:
            traits["email"] = self.random.choice((person.email, person.email.replace("example.com", "Example.COM")))
        if person.union_id:
            traits["unionid"] = person.union_id
        return traits

    def _amount(self, minor: int) -> object:
        return self.random.choice((minor / 100, f"{minor / 100:,.2f}", f"¥{minor / 100:.2f}"))

    def _user(self, is_known: bool = True) -> tuple[str, ...]:
        return (f"user_id:{self.person.user_id}",) if is_known else ()

    def _named(self) -> tuple[str, ...]:
        person = self.person
        kinds = (("union_id", person.union_id), ("phone", person.phone), ("email", person.email))
        return (*self._user(), *(f"{kind}:{value}" for kind, value in kinds if value))


def _of(device: Device) -> tuple[str, ...]:
    named = (f"device_id:{device.device_id}",) if device.device_id else ()
    return (*named, f"anonymous_id:{device.anonymous_id}")


def _context(device: Device) -> Json:
    # iOS writes UUIDs in capitals.
    return {"context": {"device": {"id": device.device_id.upper()}}} if device.device_id else {}


def _item(product: Product) -> Json:
    return {
        "product_id": product.product_id, "name": product.name, "category": product.category,
        "price": product.price_minor / 100,
    }  # fmt: skip
