"""Fixtures of the whole suite."""

from tests.postgres import database, postgres_server

__all__ = ["database", "postgres_server"]
