"""Figures are tested on both databases, as the heart is."""

from tests.exchange.conftest import journal_on, pytest_generate_tests

__all__ = ["journal_on", "pytest_generate_tests"]
