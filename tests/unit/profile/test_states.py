"""States as bytes in Redis: packed by this release, readable from the ones before, refused when from another."""

from base64 import b64decode

import msgspec
import pytest

from services.chassis.errors import Fatal
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger, FakeServer
from services.profile.core.customer_log import CustomerState, Held
from services.profile.core.state import Conclusion, TagState
from services.profile.handler import ProfileHandler
from services.profile.states import PACKED, Packer, encode_state
from tests.unit.profile.profile_builders import CONFIG, NOW_MS, event, part_of, purchase

ANNA, SLOT = "5b6c3a2e-0f5e-5d0a-9a63-0d5f4f7f3c11", Slot("profile", 0)
# What the first release that packs has stored for `golden()`. It must be readable for ever: a change of the dictionary
# makes every state in every Redis unreadable.
STORED = (
    "ASB9tQIA0wMOuTBK38HgdZOHvm0uO50uV8gv5BssG1WXJEc3Rgf42vbL9NNBctgbCTRR1ogHAENeoVOFRRWjsRUK/PMlB9SfnwiI"
    "FcJTpL2DAdL+GOcV+al7aFk="
)


def state(count: int = 50) -> CustomerState:
    """A customer with so many events, a visit a week, and one tag."""
    events = [event(("Product Viewed", "Page Viewed", "Product Added")[i % 3], 7 * (i // 2)) for i in range(count)]
    part = part_of(*events, purchase(3, 5_900, order_id="SO-20261122-0001"))
    tag = TagState(NOW_MS, "1.0.77", "first purchase on 2026-05-27")
    conclusion = Conclusion({"new_customer": tag}, "first_purchase", NOW_MS, CONFIG.catalogue.version)
    return CustomerState(count, count, {"user_id:9f522666666b1bf9978fa7cf67c48b61": part}, conclusion, day=20_600)


def golden() -> CustomerState:
    """A small one that stays as it is."""
    tag = TagState(1_779_854_400_000, "1.0.77", "first purchase on 2026-05-27")
    held = {9: Held("event", "user_id:9f52", "1.0.79", b"\0\1")}
    return CustomerState(7, 3, {}, Conclusion({"new_customer": tag}, "first_purchase", 5, "dee3"), held, day=20_600)


@pytest.mark.parametrize("one", [CustomerState(), golden(), state(1), state(50), state(3_000)])
def test_what_is_packed_comes_back(one: CustomerState) -> None:
    packer = Packer()
    for raw in (packer.pack(encode_state(one)), encode_state(one)):
        assert encode_state(packer.decode(raw)) == encode_state(one)


def test_what_a_release_has_stored_stays_readable() -> None:
    assert Packer().decode(b64decode(STORED)) == golden()


def test_the_state_of_a_person_is_packed_by_two_fifths() -> None:
    plain = encode_state(state())
    assert len(Packer().pack(plain)) < 0.6 * len(plain)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x01", b"\x01\x00\x00", b"\x02" + encode_state(state()), Packer().pack(encode_state(state()))[:-1],
     Packer().pack(b"no state"), msgspec.msgpack.encode(["of", "another", "form"])],
)  # fmt: skip
def test_bytes_that_are_none_of_ours_stop_profile_and_say_what_to_do(raw: bytes) -> None:
    with pytest.raises(Fatal, match=rf"customer {ANNA} .*touchstream rebuild"):
        Packer().read(raw, ANNA)


def test_a_state_stored_before_states_were_packed_is_gone_on_with() -> None:
    server, before = FakeServer(), state()
    server.strings[SLOT.key("c", ANNA)] = encode_state(before)
    handler = ProfileHandler(SLOT, FakeLedger(server), {}, CONFIG, 1, lambda: None, 0)
    decision = handler.decide([], [ANNA], NOW_MS)
    assert decision is not None
    stored = decision.sets[SLOT.key("c", ANNA)]
    after = Packer().decode(stored)
    assert (after.n, after.parts) == (before.n, before.parts)
    assert stored.startswith(PACKED)
