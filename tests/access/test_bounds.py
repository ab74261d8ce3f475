"""What somebody unknown may cost, and what a page of another site may see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.web import connections, guarding
from tests.access.people import browser, gateway
from tests.access.test_forms import routes
from tests.exchange.harness import Running, submit

NAMES = ("127.0.0.1", "localhost:8080", "[::1]:80", "127.0.0.2")
OTHERS = ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.7", "[", "")


async def _answer_to_the_head(r: Running, path: str) -> bytes:
    """Of a request that says that much more will come, and sends nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", r.gateway.web_port)
    try:
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000000\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\ncsrf=".encode()
        )
        return await asyncio.wait_for(reader.readline(), 60)
    finally:
        writer.close()


@pytest.mark.sqlite
async def test_nothing_is_read_of_a_body_before_it_is_known_who_sends_it(tmp_path: Path) -> None:
    """A form of gigabytes from anybody must not fill the memory that messages need."""
    async with gateway(tmp_path) as r:
        posted = [path for path, method in routes(r) if method == "POST"]
        assert len(posted) > 15
        for path in posted:
            for name, value in (("{login}", "x"), ("{deed}", "hold"), ("{token_id}", "1"), ("_id}", "1}")):
                path = path.replace(name, value)
            path = path.replace("{delivery1}", "1").replace("{mail1}", "1")
            status = await _answer_to_the_head(r, path)
            assert status.split()[1] in (b"303", b"401", b"403", b"413", b"415", b"422"), (path, status)


@pytest.mark.sqlite
async def test_open_pages_are_open_under_a_name_of_this_machine_alone(tmp_path: Path) -> None:
    """DNS rebinding: a page of another site whose name leads to 127.0.0.1 is of the same origin as what it reads."""
    async with gateway(tmp_path, open_pages="auto") as r, browser(r) as one:
        for host in NAMES:
            assert (await one.get("/", headers={"Host": host})).status_code == 200, host
            assert (await one.get("/api/v1/deliveries", headers={"Host": host})).status_code == 200, host
        for host in OTHERS:
            for path in ("/", "/erreurs", "/boites", "/tolerances", "/valider"):
                assert (await one.get(path, headers={"Host": host})).status_code == 303, (path, host)
            for path in ("/api/v1/deliveries", "/api/v1/incidents", "/api/v1/messages/M1"):
                assert (await one.get(path, headers={"Host": host})).status_code == 401, (path, host)
            assert (await one.http.post("/api/v1/validate", headers={"Host": host})).status_code == 401


@pytest.mark.sqlite
async def test_pages_that_are_opened_to_other_machines_have_any_name(tmp_path: Path) -> None:
    async with gateway(tmp_path, open_pages=True, host="0.0.0.0") as r, browser(r) as one:
        assert (await one.get("/", headers={"Host": "passerelle.hopital.example"})).status_code == 200


@pytest.mark.sqlite
async def test_connections_that_ask_for_nothing_keep_no_message_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have the file descriptors of the process, that of the listener."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 5)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 2.0)
    async with gateway(tmp_path) as r, browser(r) as one:
        assert (await one.get("/healthz")).status_code == 200
        opened = [await asyncio.open_connection("127.0.0.1", r.gateway.web_port) for _ in range(12)]
        try:
            for _reader, writer in opened[::2]:
                writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
            assert (await r.send(submit("C-1"))).code == "AA"
            for reader, _writer in opened:
                # too many: at once; the others: when their request does not come
                assert await asyncio.wait_for(reader.read(), 60) == b""
        finally:
            for _reader, writer in opened:
                writer.close()
        async with asyncio.timeout(60):
            while True:
                try:
                    assert (await one.get("/healthz")).status_code == 200
                    break
                except httpx.TransportError:  # its own connection, kept alive, was closed too
                    await asyncio.sleep(0.1)


@pytest.mark.sqlite
async def test_a_request_that_takes_long_is_not_one_that_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    async with gateway(tmp_path, open_pages=True) as r, browser(r) as one:

        async def slow() -> AsyncIterator[bytes]:
            for _ in range(6):
                yield b"MSH|"
                await asyncio.sleep(0.2)

        assert (await one.http.post("/api/v1/validate", content=slow())).status_code == 200
        assert (await one.get("/healthz")).status_code == 200


@pytest.mark.sqlite
async def test_a_form_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarding, "FORM_SECONDS", 0.5)
    async with gateway(tmp_path) as r:
        reader, writer = await asyncio.open_connection("127.0.0.1", r.gateway.web_port)
        try:
            writer.write(
                b"POST /connexion HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n\r\ncsrf="
            )
            status = await asyncio.wait_for(reader.readline(), 60)
        finally:
            writer.close()
        assert status.split()[1] == b"408"
