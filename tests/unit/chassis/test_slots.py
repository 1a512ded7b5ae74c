"""The fields of a ledger are a contract between releases: none is there that is not written down."""

import re
from pathlib import Path

import pytest

from services.chassis.records import Decision
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger

ROOT = Path(__file__).parents[3]
PLACES = {
    "slots.py": Slot.ledger.__doc__ or "",
    "README": (ROOT / "services/chassis/README.md").read_text(encoding="utf-8"),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_field_of_a_ledger_is_written_down(place: str) -> None:
    ledger, slot = FakeLedger(), Slot("rules", 0)
    claim = ledger.claim(slot, "profile.changes", "cluster", "topic", 0)
    ledger.apply(claim, Decision(), {}, 1, 1)
    ledger.suspect(claim, 1)
    fields = {re.sub(r"\d+", "<offset>", field) for field in ledger.connection.server.hashes[slot.ledger]}
    resolve = (ROOT / "services/identity/resolve.lua").read_text(encoding="utf-8")
    fields.update(re.findall(r"^  '(\w+)', entry", resolve, re.MULTILINE))
    assert {"position", "log_ms", "has_entry", "suspect:<offset>"} <= fields
    assert not {field for field in fields if not re.search(rf"\b{field}", PLACES[place])}
