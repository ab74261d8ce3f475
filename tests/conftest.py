"""Fixtures of the whole suite."""

from tests.postgres import _kept_database, database, journal_database, postgres_server

__all__ = ["_kept_database", "database", "journal_database", "postgres_server"]
