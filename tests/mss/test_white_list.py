"""The white list: read again when it changes, downloaded over real HTTP, never replaced by a broken one.

Source: spec/mssante.md §1.4.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.mss import white_list
from connectors.mss.connector import MssConnector
from connectors.mss.settings import load
from connectors.mss.white_list import WhiteList, domains_of
from connectors.port import Refused, WithAges
from gateway.errors import ConfigurationFault
from tests.mss import samples
from tests.mss.samples import BERNARD, MARTIN, SETTINGS, party, preparation, transmission


def listing(*domains: str) -> bytes:
    """A list in the national form."""
    inner = "".join(f"<Domaine><Nom>{d}</Nom><Description>x</Description></Domaine>" for d in domains)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema">'
        f"<DateDeGeneration>2026-01-01</DateDeGeneration><ListeDomaines>{inner}</ListeDomaines>"
        "</ListeBlancheMSSante>"
    ).encode()


class Source:
    """An HTTP server that publishes a list."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.status = 200
        self.checksum: str | None = None
        self.requests: list[dict[str, str]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/list.xml"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                first, *lines = head.strip().split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
                if "checksum" in first:
                    body, status, etag = (self.checksum or "").encode(), 200, ""
                else:
                    self.requests.append(headers)
                    etag = f'"{hashlib.sha256(self.content).hexdigest()}"'
                    status, body = self.status, self.content
                    if status == 200 and headers.get("if-none-match") == etag:
                        status, body = 304, b""
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nETag: {etag}\r\n"
                    f"Last-Modified: Fri, 20 Nov 2026 10:00:00 GMT\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def published(*domains: str) -> AsyncIterator[Source]:
    source = Source(listing(*domains))
    async with await asyncio.start_server(source.serve, "127.0.0.1", 0) as server:
        source.port = server.sockets[0].getsockname()[1]
        yield source


@asynccontextmanager
async def watched(path: Path, **table: Any) -> AsyncIterator[WhiteList]:
    """A list that is looked at every 10 ms."""
    given = {**SETTINGS, "white_list": str(path), "white_list_check": 0.01, **table}
    made = WhiteList(load(given, Path()))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def put(path: Path, content: bytes) -> None:
    """Replace a file as an administrator's script does."""
    (path.parent / "new").write_bytes(content)
    (path.parent / "new").replace(path)


# --- reading --------------------------------------------------------------------------------------------------


def test_a_domain_listed_twice_is_one_and_case_does_not_count() -> None:
    """§1.4: the same domain appears once for each certificate of its operator."""
    assert domains_of(listing("A.mssante.fr", "a.mssante.fr", " b.fr ")) == {"a.mssante.fr", "b.fr"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<x",
        b"<x/>",
        listing(),
        listing("a.fr")[:-10],
        b'<!DOCTYPE x [<!ENTITY e "a.fr">]><ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema">'
        b"<Nom>&e;</Nom><Nom>b.fr</Nom></ListeBlancheMSSante>",
        b"<ListeBlancheMSSante><Nom>a.fr</Nom></ListeBlancheMSSante>",
    ],
)
def test_what_is_no_list_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigurationFault):
        domains_of(content)


def test_a_list_without_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(white_list, "MAX_BYTES", 100)
    (tmp_path / "l").write_bytes(listing("a.fr"))
    with pytest.raises(ConfigurationFault, match="longer"):
        white_list.read_white_list(tmp_path / "l")


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({"white_list_url": "https://x.fr/l"}, "needs white_list"),
        ({"white_list": "l", "white_list_checksum_url": "https://x.fr/l"}, "needs white_list_url"),
        ({"white_list": "l", "white_list_url": "http://x.fr/l"}, "white_list_url"),
        ({"white_list": "l", "white_list_url": "file:///l"}, "white_list_url"),
    ],
)
def test_settings(table: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigurationFault, match=word):
        load({**SETTINGS, **table}, Path())


# --- the file -------------------------------------------------------------------------------------------------


async def test_a_changed_file_is_used_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "list.xml"
    put(path, listing("a.fr"))
    async with watched(path) as made:
        assert made.domains == {"a.fr"}
        put(path, listing("a.fr", "b.fr"))
        await until(lambda: made.domains == {"a.fr", "b.fr"})


async def test_a_broken_file_never_replaces_a_good_list(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good list stays in force, with one warning; the next good file is taken."""
    path = tmp_path / "list.xml"
    put(path, listing("a.fr"))
    async with watched(path) as made:
        confirmed = made.confirmed
        with caplog.at_level(logging.WARNING, "connectors.mss"):
            put(path, b"<broken")
            await until(lambda: bool(caplog.records))
            path.unlink()
            await asyncio.sleep(0.05)
            put(path, b"<broken again")
            await asyncio.sleep(0.05)
        assert made.domains == {"a.fr"}
        assert made.confirmed == confirmed
        # broken, then absent, then broken: each state of things is told once
        assert [r.levelname for r in caplog.records] == ["WARNING"] * 3
        caplog.clear()
        await asyncio.sleep(0.05)
        assert caplog.records == []
        put(path, listing("b.fr"))
        await until(lambda: made.domains == {"b.fr"})


async def test_a_list_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match="white list"):
        async with watched(tmp_path / "none"):
            pass


async def test_the_connector_refuses_by_the_list_in_force_and_tells_its_age(tmp_path: Path) -> None:
    """§1.9: domain not listed, before the ACK; `connectors.port.WithAges`."""
    path = tmp_path / "list.xml"
    put(path, listing("ailleurs.fr"))
    day = datetime.now(UTC) - timedelta(days=2)
    os.utime(path, (day.timestamp(), day.timestamp()))
    connector: MssConnector = samples.connector({"white_list": str(path), "white_list_check": 0.01})
    await connector.start()
    assert isinstance(connector, WithAges)
    assert abs((connector.ages()["white_list"] - day).total_seconds()) < 1
    asked = preparation(transmission(recipients=(party(MARTIN, 2), party(BERNARD, 3))))
    verdict = await connector.prepare(asked)
    assert isinstance(verdict, Refused)
    assert {f.rule for f in verdict.findings} == {"MSS-DOMAIN-UNLISTED"}
    put(path, listing(MARTIN.partition("@")[2].upper(), BERNARD.partition("@")[2]))

    async def taken() -> bool:
        return not isinstance(await connector.prepare(asked), Refused)

    async with asyncio.timeout(60):
        while not await taken():
            await asyncio.sleep(0.01)
    await connector.stop()


# --- the download ---------------------------------------------------------------------------------------------


async def test_a_list_is_downloaded_and_kept(tmp_path: Path) -> None:
    """Nothing there yet: domains are not checked, then they are; the file outlives the process."""
    path = tmp_path / "list.xml"
    async with published("a.fr", "b.fr") as source:
        async with watched(path, white_list_url=source.url) as made:
            await until(lambda: made.domains == {"a.fr", "b.fr"})
            assert made.confirmed is not None
            assert time.time() - made.confirmed.timestamp() < 60
        assert path.read_bytes() == source.content
        assert [p.name for p in tmp_path.iterdir()] == ["list.xml"]
        # fresh: the next start asks nothing before its day is over
        async with watched(path, white_list_url=source.url) as made:
            assert made.domains == {"a.fr", "b.fr"}
            await asyncio.sleep(0.1)
        assert len(source.requests) == 1


async def test_an_unchanged_list_is_not_sent_again(tmp_path: Path) -> None:
    """RFC 9110 §13: ETag and Last-Modified come back; 304 confirms the list in force."""
    path = tmp_path / "list.xml"
    async with (
        published("a.fr") as source,
        watched(path, white_list_url=source.url, white_list_refresh=0.05) as made,
    ):
        await until(lambda: len(source.requests) >= 3)
        first = made.confirmed
        await until(lambda: made.confirmed != first)
        assert "if-none-match" not in source.requests[0]
        assert source.requests[2]["if-none-match"].startswith('"')
        assert source.requests[2]["if-modified-since"] == "Fri, 20 Nov 2026 10:00:00 GMT"
        source.content = listing("a.fr", "b.fr")
        await until(lambda: made.domains == {"a.fr", "b.fr"})


@pytest.mark.parametrize("fault", ["status", "broken", "shrunk", "checksum", "long"])
async def test_a_download_that_cannot_be_taken_changes_nothing(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outage, error page, truncated list, wrong checksum: file and list stay, one warning, then it works again."""
    path = tmp_path / "list.xml"
    kept = listing(*(f"d{n}.fr" for n in range(10)))
    put(path, kept)
    os.utime(path, (0, 0))
    monkeypatch.setattr(white_list, "RETRY", 0.02)
    async with published(*(f"d{n}.fr" for n in range(11))) as source:
        good = source.content
        table: dict[str, Any] = {"white_list_url": source.url}
        if fault == "status":
            source.status = 503
        elif fault == "broken":
            source.content = b"<html>maintenance"
        elif fault == "shrunk":
            source.content = listing("d1.fr")
        elif fault == "checksum":
            source.checksum = "0" * 64 + "  listeblanchemssante.xml\n"
        else:
            monkeypatch.setattr(white_list, "MAX_BYTES", len(kept) + 10)
        if fault == "checksum":
            table["white_list_checksum_url"] = source.url.replace("list.xml", "checksum")
        with caplog.at_level(logging.WARNING, "connectors.mss"):
            async with watched(path, **table) as made:
                await until(lambda: len(source.requests) >= 3)
                assert path.read_bytes() == kept
                assert made.domains is not None and len(made.domains) == 10
                assert len(caplog.records) == 1
                source.status, source.content = 200, good
                source.checksum = hashlib.sha256(good).hexdigest().upper()
                monkeypatch.setattr(white_list, "MAX_BYTES", 10_000)
                await until(lambda: len(made.domains or ()) == 11)
    assert [p.name for p in tmp_path.iterdir()] == ["list.xml"]


async def test_nobody_there_is_an_outage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No file and no source: the connector starts, domains are not checked, and it is said."""
    async with published() as source:
        url = source.url
    with caplog.at_level(logging.WARNING, "connectors.mss"):
        async with watched(tmp_path / "list.xml", white_list_url=url) as made:
            await until(lambda: len(caplog.records) >= 2)
            assert made.domains is None
            assert made.confirmed is None
    assert "not checked" in caplog.records[0].message
