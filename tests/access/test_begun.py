"""How many log-ins at the provider an address may begin: a GET is enough, and each is kept until it comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.access.people import Browser, browser, gateway, trace
from tests.access.provider import provider, table
from tests.access.test_oidc import by_provider, known
from tests.exchange import harness

FEW = {"lock_address_after": 3}
BEGIN = "/connexion/externe"


def under_way(directory: Path) -> int:
    with harness.raw(directory) as db:
        return int(db.execute("SELECT count(*) FROM oidc_state").fetchone()[0])


def later(directory: Path, seconds: float) -> None:
    """So long ago they began."""
    with harness.raw(directory) as db:
        db.execute(f"UPDATE sign_in_failure SET failed_at = failed_at - {seconds}")


async def test_an_address_may_begin_so_many_and_then_waits(tmp_path: Path) -> None:
    async with (
        provider(tmp_path) as p,
        gateway(tmp_path, oidc=table(p), accounts=FEW) as r,
        browser(r) as one,
    ):
        await known(r)
        assert [(await one.get(BEGIN)).status_code for _ in range(5)] == [303] * 3 + [429] * 2
        answer = await one.get(BEGIN)
        assert "Trop de connexions commencées" in answer.text and "location" not in answer.headers
        assert 100 < int(answer.headers["retry-after"]) <= 201
        assert under_way(tmp_path) == 3
        told = [t["details"] for t in await trace(r) if t["action"] == "oidc-failed"]
        assert told == [{"code": "TOO_MANY"}], "once a minute"
        # a password is another door
        assert (await one.sign_in(password="wrong")).status_code == 401
        # one place more when a third of the ten minutes has passed
        later(tmp_path, 201)
        assert [(await one.get(BEGIN)).status_code for _ in range(2)] == [303, 429]
        later(tmp_path, 601)
        assert [(await one.get(BEGIN)).status_code for _ in range(4)] == [303] * 3 + [429]


async def test_who_comes_in_counts_no_more(tmp_path: Path) -> None:
    """Many people behind one address, one after the other."""
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p), accounts=FEW) as r:
        await known(r)
        for _ in range(5):
            async with browser(r) as one:
                assert (await by_provider(one)).status_code == 303
        async with browser(r) as one:
            # who comes back with nothing good does
            for _ in range(3):
                begun = await one.get(BEGIN)
                state = httpx.URL(begun.headers["location"]).params["state"]
                back = await one.get(f"{BEGIN}/retour", params={"state": state, "error": "x"})
                assert back.status_code == 403
            assert (await one.get(BEGIN)).status_code == 429


async def test_those_begun_at_the_same_time_are_counted(tmp_path: Path) -> None:
    async with (
        provider(tmp_path) as p,
        gateway(tmp_path, oidc=table(p), accounts=FEW) as r,
        browser(r) as one,
    ):
        answers = await asyncio.gather(*(one.get(BEGIN) for _ in range(12)))
        assert sorted(a.status_code for a in answers) == [303] * 3 + [429] * 9
        assert under_way(tmp_path) == 3


@pytest.mark.sqlite
async def test_other_addresses_do_not_wait(tmp_path: Path) -> None:
    """The person's own address counts, which a proxy of the settings tells."""
    proxied = {"trusted_proxies": ["127.0.0.1"], "public_url": "https://passerelle.test"}
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p), accounts=FEW, **proxied) as r:

        async def begin(one: Browser, address: str) -> int:
            return (await one.get(BEGIN, headers={"X-Forwarded-For": address})).status_code

        async with browser(r) as one:
            assert [await begin(one, "192.0.2.1") for _ in range(4)] == [303] * 3 + [429]
            assert await begin(one, "192.0.2.2") == 303
            # of IPv6 a network of one customer
            assert [await begin(one, f"2001:db8::{n}") for n in range(1, 5)] == [303] * 3 + [429]
            assert await begin(one, "2001:db8:0:1::1") == 303
