"""Fixtures of the whole suite."""

from hypothesis import settings

from tests.postgres import _kept_database, database, journal_database, postgres_server

__all__ = ["_kept_database", "database", "journal_database", "postgres_server"]

# a run judges the change, not luck: the same examples every time; `make fuzz` looks for new ones
settings.register_profile("same", derandomize=True)
settings.register_profile("new", derandomize=False)
settings.load_profile("same")
