"""Fixtures: an ingest without broker."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.unit.ingest.ingest_double import Ingest, build_ingest


@pytest.fixture
async def make_ingest() -> AsyncIterator[Callable[..., Ingest]]:
    """Builds an Ingest with the given settings."""
    built: list[Ingest] = []

    def make(**values: Any) -> Ingest:
        built.append(build_ingest(**values))
        return built[-1]

    yield make
    for ingest in built:
        await ingest.client.aclose()


@pytest.fixture
def ingest(make_ingest: Callable[..., Ingest]) -> Ingest:
    """An Ingest with default settings."""
    return make_ingest()
