"""Figures are tested on both databases, as the heart is."""

import pytest

from gateway.web import indicators
from tests.exchange.conftest import journal_on, pytest_generate_tests

__all__ = ["journal_on", "pytest_generate_tests"]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded machine takes longer to start a worker than a person waits."""
    monkeypatch.setattr(indicators, "PATIENCE", 120.0)
