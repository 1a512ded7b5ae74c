"""identity and identifiers: what linked customers that have nothing to do with each other."""

import pytest

from services.identity.adapters import Encoder, load_policy
from services.identity.core.links import UnusableError, ask

KEY = b"0123456789abcdef"
POLICY = load_policy("deploy/config/identity.yaml")


def asked(*identifiers: str) -> list[bytes]:
    """The nodes that an identify call names in the graph, under the shipped policy."""
    return list(ask("identify", "crm", "e1", identifiers, 0, POLICY, Encoder(POLICY, KEY).encode).identifiers)


@pytest.mark.parametrize("kind", sorted(POLICY.kinds))
def test_an_identify_with_an_empty_identifier_identifies_nobody_by_it(kind: str) -> None:
    """A source that writes touchpoints itself left phones empty: all customers without one were one customer."""
    assert asked("user_id:u1", f"{kind}:") == asked("user_id:u1")
    with pytest.raises(UnusableError):
        asked(f"{kind}:")
