"""The benchmark's traffic: seeded, made before the clock starts, and with its own books of what it contains."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

BATCH = 100
CUSTOMERS = 50_000
VISITORS = 40_000
ZIPF_S = 1.1  # exponent of the Zipf distribution of customers: the first of 50,000 gets about 10 % of the traffic
DUPLICATES, MERGES, GARBAGE = 0.05, 0.02, 0.01
NAMES = (
    ("Product Viewed", 0.60),
    ("Cart Viewed", 0.15),
    ("Product Added", 0.10),
    ("Order Completed", 0.05),
    ("Message Opened", 0.05),
    ("Logged In", 0.05),
)


@dataclass(slots=True)
class Books:
    """What was made: events, how many repeat an earlier message id, how many no validator may accept; who is in them.

    Identifiers are kind:value. `orders`: whose orders are in it; `namers`: visitor → users who named him; `emails`:
    address → user; `seen`: visitors who were there without a name.
    """

    events: int = 0
    duplicates: int = 0
    garbage: int = 0
    ids: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    visitors: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    emails: dict[str, str] = field(default_factory=dict)
    namers: dict[str, set[str]] = field(default_factory=dict)
    orders: set[str] = field(default_factory=set)

    def names(self) -> Iterator[str]:
        """Every identifier."""
        yield from self.users
        yield from self.visitors
        yield from self.emails


class Workload:
    """An endless sequence of batches; the same seed and run give the same bytes."""

    def __init__(self, seed: int, run: str) -> None:
        self._random = random.Random(seed)
        self._run = run
        weights = [1 / (rank**ZIPF_S) for rank in range(1, CUSTOMERS + 1)]
        self._customers = self._random.choices(range(CUSTOMERS), weights, k=400_000)
        names, shares = zip(*NAMES, strict=True)
        self._names = self._random.choices(names, shares, k=100_000)
        self._recent: list[dict[str, object]] = []
        self._made = 0
        self.books = Books()

    def batches(self) -> Iterator[bytes]:
        """JSON bodies of POST /v1/batch, BATCH events each."""
        encode = msgspec.json.Encoder().encode
        while True:
            yield encode({"batch": [self._event() for _ in range(BATCH)]})

    def _event(self) -> dict[str, object]:
        books, dice = self.books, self._random.random()
        self._made += 1
        books.events += 1
        if dice < GARBAGE:
            books.garbage += 1
            return {"type": "track", "messageId": f"{self._run}-g{self._made}", "userId": "null", "event": "Nobody"}
        if dice < GARBAGE + DUPLICATES and self._recent:
            books.duplicates += 1
            return self._random.choice(self._recent)
        customer = self._customers[self._made % len(self._customers)]
        message_id = f"{self._run}-{self._made}"
        books.ids.add(message_id)
        if dice < GARBAGE + DUPLICATES + MERGES:
            # An anonymous visitor who was seen before names himself: two customers become one.
            event = self._identify(message_id, customer)
        else:
            event = self._track(message_id, customer)
        if len(self._recent) < 2_000:
            self._recent.append(event)
        else:
            self._recent[self._made % 2_000] = event
        return event

    def _track(self, message_id: str, customer: int) -> dict[str, object]:
        name = self._names[self._made % len(self._names)]
        event: dict[str, object] = {
            "type": "track",
            "messageId": message_id,
            "event": name,
            "properties": {"sku": f"sku-{self._made % 997}", "page": self._made % 31, "price": 19.9},
        }
        if self._random.random() < 0.04:
            event["anonymousId"] = f"{self._run}-visitor-{self._random.randrange(VISITORS)}"
            self._note(name, f"anonymous_id:{event['anonymousId']}", (self.books.visitors, self.books.seen))
            return event
        event["userId"] = f"{self._run}-user-{customer}"
        self._note(name, f"user_id:{event['userId']}", (self.books.users,))
        if name == "Order Completed":
            event["properties"] = {
                "order_id": f"{self._run}-o{self._made}", "total": round(10 + self._random.random() * 500, 2),
                "currency": "CNY",
            }  # fmt: skip
        return event

    def _note(self, name: str, who: str, sets: tuple[set[str], ...]) -> None:
        for one in sets:
            one.add(who)
        if name == "Order Completed":
            self.books.orders.add(who)

    def _identify(self, message_id: str, customer: int) -> dict[str, object]:
        visitor, email = (
            f"{self._run}-visitor-{self._random.randrange(VISITORS)}",
            f"{self._run}-{customer}@example.com",
        )
        user = f"{self._run}-user-{customer}"
        books = self.books
        books.users.add(f"user_id:{user}")
        books.visitors.add(f"anonymous_id:{visitor}")
        books.emails[f"email:{email}"] = f"user_id:{user}"
        books.namers.setdefault(f"anonymous_id:{visitor}", set()).add(f"user_id:{user}")
        return {
            "type": "identify",
            "messageId": message_id,
            "userId": user,
            "anonymousId": visitor,
            "traits": {"name": f"Customer {customer}", "email": email},
        }
