"""Searches of the API over HTTPS: pages, bounds, one second try. I/O.

Guarantee: no redirect is followed and the key goes to the origin of the settings alone; a body is read up to a bound;
no URL, address, identifier or key stands in what is raised.
Fails: `SearchFault`.
Source: spec/mssante.md §4 (header ESANTE-API-KEY, application/fhir+json); RFC 9110 §10.2.3 (Retry-After).
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from connectors.mss.directory import reading
from connectors.mss.directory.failures import DirectoryUnavailable
from connectors.mss.directory.reading import Resource
from connectors.mss.directory.settings import DirectorySettings
from gateway.errors import ConfigurationFault

MAX_BYTES = 4_000_000
"""Largest page."""
MAX_PAGES = 20
IN_PLACE = 32_768
"""Bytes of JSON that are read on the event loop (under 1 ms)."""
SECOND_TRY = 0.2
"""Seconds before the second try."""
LONGEST_WAIT = 2.0
"""Seconds of a Retry-After that a look-up waits for; a longer one holds the directory off."""
_KEY = re.compile(r"[\x21-\x7e]{1,512}")


class SearchFault(DirectoryUnavailable):
    """A search failed. `again`: another try may succeed; `hold`: seconds that the directory asks to be left alone."""

    def __init__(self, cause: str, *, again: bool = False, hold: float | None = None) -> None:
        super().__init__(cause)
        self.again = again
        self.hold = hold


@dataclass(frozen=True, slots=True)
class Found:
    """Resources of a search; `whole` is False when there were more."""

    resources: tuple[Resource, ...]
    whole: bool


class Searches:
    """A pool of connections to the API. Raises `ConfigurationFault` for an authority that cannot be read."""

    def __init__(self, settings: DirectorySettings) -> None:
        self._settings = settings
        try:
            context = ssl.create_default_context(cafile=settings.ca_bundle)
        except (OSError, ssl.SSLError) as e:
            raise ConfigurationFault(
                f"connectors.mss.directory.ca_bundle cannot be read ({type(e).__name__})"
            ) from None
        limits = settings.read_timeout
        self._client = httpx.AsyncClient(
            verify=context,
            timeout=httpx.Timeout(limits, connect=settings.connect_timeout),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
            follow_redirects=False,
            # a compressed body could be of any size once opened
            headers={"Accept": "application/fhir+json", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def key(self) -> str:
        """The key of the file. Raises `SearchFault`."""
        path = self._settings.api_key_file
        try:
            text = (await asyncio.to_thread(_first, path)).strip() if path is not None else ""
        except (OSError, UnicodeDecodeError):
            text = ""
        if not _KEY.fullmatch(text):
            raise SearchFault("the API key cannot be read")
        return text

    async def search(self, kind: str, asked: Sequence[tuple[str, str]], key: str) -> Found:
        """`GET [base]/kind?asked`, page after page, up to `max_results` resources."""
        most = self._settings.max_results
        page = str(
            httpx.URL(f"{self._settings.base_url}/{kind}", params=[*asked, ("_count", str(min(most, 50)))])
        )
        found: list[Resource] = []
        for _ in range(MAX_PAGES):
            bundle = await self._twice(page, key)
            found.extend(reading.resources_of(bundle))
            page, elsewhere = reading.next_page(bundle, page, self._settings.base_url)
            if not page:
                return Found(tuple(found[:most]), not elsewhere and len(found) <= most)
            if len(found) >= most:
                break
        return Found(tuple(found[:most]), False)

    async def _twice(self, url: str, key: str) -> object:
        try:
            return await self._page(url, key)
        except SearchFault as e:
            if not e.again:
                raise
            await asyncio.sleep(SECOND_TRY if e.hold is None else e.hold)
        return await self._page(url, key)

    async def _page(self, url: str, key: str) -> object:
        """One Bundle. Raises `SearchFault`."""
        try:
            async with self._client.stream("GET", url, headers={"ESANTE-API-KEY": key}) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise _refused(answer.status_code, answer.headers)
                body = await _bounded(answer)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as e:
            # the text of these may quote the URL
            raise SearchFault(type(e).__name__, again=not isinstance(e, httpx.UnsupportedProtocol)) from None
        bundle = _parsed(body) if len(body) <= IN_PLACE else await asyncio.to_thread(_parsed, body)
        if not reading.is_bundle(bundle):
            raise SearchFault("answered something that is no Bundle", again=True)
        return bundle


def _first(path: Path) -> str:
    with path.open(encoding="ascii") as file:
        return file.read(1024)


async def _bounded(answer: httpx.Response) -> bytes:
    made = bytearray()
    async for piece in answer.aiter_bytes(65_536):
        made += piece
        if len(made) > MAX_BYTES:
            raise SearchFault(f"answered more than {MAX_BYTES} bytes")
    return bytes(made)


def _parsed(body: bytes) -> object:
    """The JSON value; None for what is none."""
    try:
        made: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return made


def _refused(status: int, headers: Mapping[str, str]) -> SearchFault:
    """The fault that a status tells."""
    cause = f"answered {status}"
    if status in (401, 403):
        return SearchFault(f"{cause}: the API key is refused")
    if status in (429, 503):
        hold = _retry_after(headers.get("Retry-After", ""))
        if hold is not None or status == 429:
            return SearchFault(cause, again=hold is not None and hold <= LONGEST_WAIT, hold=hold)
    return SearchFault(cause, again=status >= 500)


def _retry_after(text: str) -> float | None:
    """Seconds of a Retry-After: a number, or a date."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
