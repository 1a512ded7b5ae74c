"""A Valkey for the graph's property tests; it forgets at a power cut, which no test here causes."""

from collections.abc import Iterator

import pytest

from tests.conformance.valkey_server import valkey_server


@pytest.fixture(scope="session")
def graph_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey_server(tmp_path_factory.mktemp("graph"), "no") as url:
        yield url
