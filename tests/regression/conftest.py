"""The backends of the integration tests."""

from tests.integration.conftest import backend_settings, kafka

__all__ = ["backend_settings", "kafka"]
