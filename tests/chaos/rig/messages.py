"""What senders send: one message each, as the oracle knows it and as it goes over the wire. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

# Strongest first: the first one of a message is its primary identifier. The oracle's own copy of the product's order.
STRENGTH = ("user_id", "email", "device_id", "anonymous_id")
EVENT, UNLINK, ERASE, GARBAGE = "event", "unlink", "erase", "garbage"
ORDER, REFUND, REGISTERED, VIEWED = "Order Completed", "Order Refunded", "Registered", "Product Viewed"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """`what`: EVENT, UNLINK, ERASE or GARBAGE. `identifiers` as `kind:value`, strongest first."""

    event_id: str
    what: str
    type: str
    name: str
    identifiers: tuple[str, ...]
    occurred_ms: int
    order_id: str = ""
    amount_minor: int = 0
    city: str = ""
    extra: Json = field(default_factory=dict)

    @property
    def primary(self) -> str:
        """Its strongest identifier."""
        return self.identifiers[0]

    def wire(self) -> Json:
        """The JSON of an SDK."""
        if self.what == GARBAGE:
            return {"messageId": self.event_id, **self.extra}
        said: Json = {"type": self.type, "messageId": self.event_id, "timestamp": _iso(self.occurred_ms)}
        context: Json = {"library": {"name": "chaos", "version": "1"}}
        traits: Json = {"city": self.city} if self.city else {}
        for identifier in self.identifiers:
            kind, _, value = identifier.partition(":")
            if kind == "user_id":
                said["userId"] = value
            elif kind == "anonymous_id":
                said["anonymousId"] = value
            elif kind == "device_id":
                context["device"] = {"id": value}
            else:
                traits["email"] = value
        if self.type == "track":
            said["event"] = self.name
            said["properties"] = self._properties()
            if traits:
                context["traits"] = traits
        elif traits:
            said["traits"] = traits
        return said | {"context": context}

    def _properties(self) -> Json:
        if not self.order_id:
            return {"sku": self.event_id[-3:]}
        whole, cents = divmod(self.amount_minor, 100)
        return {"order_id": self.order_id, "total": f"{whole}.{cents:02d}", "currency": "CNY"}


def ranked(identifiers: Sequence[str]) -> tuple[str, ...]:
    """Strongest kind first; a message has at most one of a kind."""
    return tuple(sorted(identifiers, key=lambda text: STRENGTH.index(text.partition(":")[0])))


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
