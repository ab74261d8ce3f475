"""The main job, and the kill at each step, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance import process

ON_BOTH = ("test_main_job", "test_kill")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Twice: SQLite, then PostgreSQL."""
    if metafunc.module.__name__.rpartition(".")[2] in ON_BOTH:
        metafunc.parametrize("journal_on", ["sqlite", "postgres"], indirect=True)


@pytest.fixture(autouse=True)
def journal_on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings `[journal]` for `tests.acceptance.process`."""
    if getattr(request, "param", "sqlite") == "postgres":
        monkeypatch.setattr(process, "JOURNAL", request.getfixturevalue("journal_database").table)
    yield
