"""The conformance suite of the ledger, on the Valkey image and configuration file of docker-compose.yml."""

import pytest

pytest.register_assert_rewrite("tests.conformance.test_ledger")

from tests.conformance.conftest import lab  # noqa: E402, F401 - a fixture of the suite
from tests.conformance.test_ledger import *  # noqa: E402, F403 - the suite itself

pytestmark = pytest.mark.containers


@pytest.fixture(scope="session")
def valkey_url(redis_url: str) -> str:
    """Where the suite finds its server: the container instead of the bundled binary."""
    return redis_url
