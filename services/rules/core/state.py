"""What the rules service keeps of one customer between batches, and its bytes in Redis."""

import msgspec

from services.rules.core.model import Fires

STATE_VERSION = 1


class Customer(msgspec.Struct, array_like=True, frozen=True):
    """`fires`: see limits.py. `queue`: values of profile.changes held back while the customer waits, in order, the one
    that waits first. `wait`: the Redis key of the hand-over it waits for, "" when it does not wait."""

    version: int = STATE_VERSION
    fires: dict[str, dict[str, int]] = {}
    queue: list[bytes] = []
    wait: str = ""

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to keep: the key is removed."""
        return not (self.fires or self.queue or self.wait)


class StateError(ValueError):
    """Stored bytes are not a state that this version reads."""


_encoder = msgspec.msgpack.Encoder(order="sorted")  # sorted: the same state is the same bytes
_decoder = msgspec.msgpack.Decoder(Customer)


def pack(fires: Fires, queue: list[bytes] | None = None, wait: str = "") -> bytes:
    """A customer's state, or (without queue) what it hands over."""
    plain = {rule: dict(fired) for rule, fired in fires.items()}
    return _encoder.encode(Customer(STATE_VERSION, plain, queue or [], wait))


def unpack(blob: bytes | None) -> Customer:
    """The state in `blob`; an empty one for None. Raises StateError for bytes of another version or maker."""
    if blob is None:
        return Customer()
    try:
        customer = _decoder.decode(blob)
    except msgspec.MsgspecError as error:
        raise StateError(f"{len(blob)} bytes are no rules state: {error}") from error
    if customer.version != STATE_VERSION:
        raise StateError(f"rules state of version {customer.version}, this program reads version {STATE_VERSION}")
    return customer
