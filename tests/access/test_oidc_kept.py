"""What is kept of a log-in by the provider, on both databases."""

from __future__ import annotations

from pathlib import Path

from tests.access.people import browser, gateway
from tests.access.provider import provider, table
from tests.access.test_oidc import by_provider, known
from tests.exchange import harness


async def test_a_log_in_by_the_provider(tmp_path: Path) -> None:
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        await known(r)
        assert (await by_provider(one)).status_code == 303
        assert (await one.get("/erreurs")).status_code == 200
        with harness.raw(tmp_path) as db:
            assert db.execute("SELECT count(*) FROM oidc_state").fetchone()[0] == 0
            (hint,) = db.execute("SELECT hint FROM web_session").fetchone()
        assert hint.count(".") == 2
