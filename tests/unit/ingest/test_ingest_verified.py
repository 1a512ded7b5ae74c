"""What a source says is verified: the names that are known, and whose word counts."""

from typing import Any

import pytest

from services.ingest.core.source import Source
from services.ingest.core.verified import verified_flags
from tests.unit.ingest.test_ingest_touchpoint import accept


@pytest.mark.parametrize(
    ("traits", "context", "flags"),
    [
        ({"phone_number_verified": True}, {}, 8),
        ({"phoneVerified": "true", "email_verified": True}, {}, 24),
        ({"phone_verified": False, "emailVerified": "yes", "email_verified": 0}, {}, 0),
        ({}, {"verified": ["email", "fax", 7]}, 16),
        ({}, {"verified": "phone"}, 0),
        ({"name": "x"}, {}, 0),
    ],
)
def test_names_of_open_id_and_of_sdks_are_known(traits: Any, context: Any, flags: int) -> None:
    assert verified_flags(traits, context) == flags


def test_a_browser_can_verify_nothing() -> None:
    message = {"type": "identify", "userId": "u1", "traits": {"phone": "13800138000", "phone_verified": True}}
    assert accept(message).flags == 8
    assert accept(message, Source("web", is_public=True)).flags == 2
