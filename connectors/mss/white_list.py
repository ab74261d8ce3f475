"""The national white list of MSSanté domains: a file, read again when it changes, downloaded when asked. I/O.

Purpose: give `prepare` the domains in force without ever touching a disk or a network on its way.
Guarantee: a list in force is replaced only by one that was read whole and holds domains; a broken file, an outage or a
checksum that does not agree leave the last good one in force, with one warning until something else happens. A file
that is downloaded is replaced atomically, after it was read.
Fails: `ConfigurationFault` from `start` when the file of the settings cannot be read and nothing can bring one.
Source: spec/mssante.md §1.4 (structure of the list, daily refresh, tolerance to outages); RFC 9110 §13 (ETag).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import httpx
from lxml import etree

from connectors.keys.files import Fingerprint, fingerprint
from connectors.mss.settings import MssSettings
from gateway.errors import ConfigurationFault
from gateway.safexml import safe_parser

log = logging.getLogger("connectors.mss")

MAX_BYTES = 64_000_000
"""Largest list that is read; the national one was 5 MB in 2026."""
RETRY = 3600.0
"""Seconds between two tries of a download that failed."""
_NAMESPACE = "{https://listeblanche.mssante.fr/schema}"
_SHA256 = re.compile(r"\b[0-9A-Fa-f]{64}\b")


def domains_of(content: bytes) -> frozenset[str]:
    """The lower-cased domains of a `listeblanchemssante.xml`. Raises `ConfigurationFault`."""
    try:
        root = etree.fromstring(content, safe_parser(len(content)))
    except (etree.XMLSyntaxError, ValueError) as e:
        raise ConfigurationFault(f"the white list cannot be read: {type(e).__name__}") from None
    names = frozenset(
        (element.text or "").strip().lower()
        for element in root.iter(f"{_NAMESPACE}Nom")
        if (element.text or "").strip()
    )
    if root.getroottree().docinfo.internalDTD is not None or not names:
        raise ConfigurationFault("the white list holds no domain, or a DOCTYPE")
    return names


def read_white_list(path: Path) -> frozenset[str]:
    """The domains of a file. Raises `ConfigurationFault`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise ConfigurationFault(f"the white list cannot be read: {type(e).__name__}") from None
    if len(content) > MAX_BYTES:
        raise ConfigurationFault(f"the white list is longer than {MAX_BYTES} bytes")
    return domains_of(content)


class WhiteList:
    """One per connector: `start`, then `domains`, `confirmed`; `stop`."""

    def __init__(self, settings: MssSettings) -> None:
        self._settings = settings
        self._seen: Fingerprint = ()
        self._etag = ""
        self._modified = ""
        self._warned = ""
        self._watcher: asyncio.Task[None] | None = None
        self.domains: frozenset[str] | None = None
        """In force; None: domains are not checked (no list in the settings, or none came yet)."""
        self.confirmed: datetime | None = None
        """When the list in force was laid down, or its source last said that it has no newer one."""

    async def start(self) -> None:
        """Read the file and watch it. Raises `ConfigurationFault`."""
        path = self._settings.white_list
        if path is None:
            return
        try:
            await self._read(path)
        except ConfigurationFault as e:
            if not self._settings.white_list_url:
                raise
            self._warn(f"{e}; domains are not checked until one is downloaded")
        self._watcher = asyncio.create_task(self._watch(path), name="mss-white-list")

    async def stop(self) -> None:
        """Stop watching."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    # --- the file -------------------------------------------------------------------------------------------

    async def _read(self, path: Path) -> None:
        """Take the file's list. Raises `ConfigurationFault`, the list in force unchanged."""
        self._seen = await asyncio.to_thread(fingerprint, (path,))
        self.domains = await asyncio.to_thread(read_white_list, path)
        self.confirmed = _time_of(self._seen)
        self._warned = ""

    async def _watch(self, path: Path) -> None:
        next_download = self._first_download()
        while True:
            now = asyncio.get_running_loop().time()
            if next_download is not None and now >= next_download:
                good = await self._download(path)
                next_download = now + (self._settings.white_list_refresh if good else self._retry())
            await asyncio.sleep(self._settings.white_list_check)
            if await asyncio.to_thread(fingerprint, (path,)) == self._seen:
                continue
            try:
                await self._read(path)
                log.info("white list: %d domains", len(self.domains or ()))
            except ConfigurationFault as e:
                self._warn(f"{e}; the former list stays in force")

    def _warn(self, text: str) -> None:
        """Once for one state of things."""
        if text != self._warned:
            log.warning("white list: %s", text)
        self._warned = text

    # --- the download ---------------------------------------------------------------------------------------

    def _first_download(self) -> float | None:
        """Instant of the loop's clock of the first download: at once, or when the file's day is over."""
        if not self._settings.white_list_url:
            return None
        age = (datetime.now(UTC) - self.confirmed).total_seconds() if self.confirmed else float("inf")
        wait = max(0.0, self._settings.white_list_refresh - max(age, 0.0))
        return asyncio.get_running_loop().time() + wait

    def _retry(self) -> float:
        return min(RETRY, self._settings.white_list_refresh)

    async def _download(self, path: Path) -> bool:
        """One try; False when it failed (and is to be tried again soon)."""
        try:
            async with httpx.AsyncClient(timeout=self._settings.white_list_timeout) as client:
                content = await self._fetch(client)
                if content is not None:
                    await self._check_sum(client, content)
            if content is None:
                # the file's time tells how fresh it is, across restarts too
                await asyncio.to_thread(os.utime, path)
                self._seen = await asyncio.to_thread(fingerprint, (path,))
                self.confirmed = _time_of(self._seen)
                self._warned = ""
                return True
            domains = await asyncio.to_thread(domains_of, content)
            if self.domains is not None and len(domains) * 2 < len(self.domains):
                raise ConfigurationFault(
                    f"the new list has {len(domains)} domains, the one in force {len(self.domains)}: not taken"
                )
            await asyncio.to_thread(_replace, path, content)
            await self._read(path)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ConfigurationFault) as e:
            self._etag = self._modified = ""
            told = str(e) if isinstance(e, ConfigurationFault) else type(e).__name__
            self._warn(f"download: {told}; the former list stays in force")
            return False
        log.info("white list: %d domains downloaded", len(domains))
        return True

    async def _fetch(self, client: httpx.AsyncClient) -> bytes | None:
        """The list, or None when the source has no newer one. Raises `httpx.HTTPError`, `ConfigurationFault`."""
        headers = {}
        if self._etag:
            headers["If-None-Match"] = self._etag
        if self._modified:
            headers["If-Modified-Since"] = self._modified
        async with client.stream("GET", self._settings.white_list_url, headers=headers) as answer:
            if answer.status_code == httpx.codes.NOT_MODIFIED and headers:
                return None
            if answer.status_code != httpx.codes.OK:
                raise ConfigurationFault(f"answered {answer.status_code}")
            content = await _bounded(answer, MAX_BYTES)
            self._etag = answer.headers.get("ETag", "")
            self._modified = answer.headers.get("Last-Modified", "")
        return content

    async def _check_sum(self, client: httpx.AsyncClient, content: bytes) -> None:
        """The SHA-256 that the source publishes beside the list is that of `content`."""
        url = self._settings.white_list_checksum_url
        if not url:
            return
        async with client.stream("GET", url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise ConfigurationFault(f"the checksum's address answered {answer.status_code}")
            told = _SHA256.search((await _bounded(answer, 65_536)).decode("ascii", "replace"))
        digest = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        if told is None or told[0].lower() != digest:
            raise ConfigurationFault("the checksum does not agree")


async def _bounded(answer: httpx.Response, limit: int) -> bytes:
    """The body, when it is at most `limit` bytes (after decompression). Raises `ConfigurationFault`."""
    made = bytearray()
    async for piece in answer.aiter_bytes(65_536):
        made += piece
        if len(made) > limit:
            raise ConfigurationFault(f"longer than {limit} bytes")
    return bytes(made)


def _replace(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader, or a power cut, finds the former file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _time_of(seen: Fingerprint) -> datetime | None:
    """The modification time of the one file of a fingerprint."""
    return datetime.fromtimestamp(seen[0][3] / 1e9, UTC) if seen and seen[0] else None
