"""Real mail servers: asked for by name only (`pytest -m mailservers`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mailservers import servers
from tests.mailservers.servers import MailServers


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "mailservers" in str(config.getoption("-m")):
        return
    asked = pytest.mark.skip(reason="starts Postfix and Dovecot: pytest -m mailservers")
    for item in items:
        if item.get_closest_marker("mailservers"):
            item.add_marker(asked)


@pytest.fixture(scope="session")
def mail_servers() -> Iterator[MailServers]:
    """Both running; skipped with the reason where they cannot."""
    if reason := servers.missing():
        pytest.skip(reason)
    with servers.running() as made:
        yield made
