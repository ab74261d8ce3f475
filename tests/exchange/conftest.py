"""Every test of the heart runs on both databases: its journal is SQLite, then PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.exchange import harness


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What has a journal (a folder for it) has it twice, unless marked `sqlite`."""
    if "tmp_path" in metafunc.fixturenames and not metafunc.module.__name__.endswith("test_nodes"):
        one = metafunc.definition.get_closest_marker("sqlite") is not None
        metafunc.parametrize("journal_on", ["sqlite"] if one else ["sqlite", "postgres"], indirect=True)


@pytest.fixture(autouse=True)
def journal_on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings `[journal]` for `tests.exchange.harness`."""
    if getattr(request, "param", "sqlite") == "postgres":
        database = request.getfixturevalue("journal_database")
        monkeypatch.setattr(harness, "JOURNAL", database.table)
    yield
