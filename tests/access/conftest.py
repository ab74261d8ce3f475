"""Accounts are in the journal: tested on both databases."""

from tests.exchange.conftest import journal_on, pytest_generate_tests

__all__ = ["journal_on", "pytest_generate_tests"]
