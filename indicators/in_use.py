"""The catalogue in use: that of the package, or the hospital's own file, read again when it changed.

Purpose: a changed file takes effect without a restart, for the gateway, its pages and the worker alike: who computes is
given the text that was read here.
Guarantee: what is in use was read whole and is a catalogue. A file that is none any more (or is gone) is told in
French, once in the log, and by `/readyz` as long as it lasts; the last good one stays in use.
Fails: `ConfigurationFault` when the first reading finds none.
Source: docs/decisions/0041.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.errors import ConfigurationFault
from gateway.exchange.identifiers import Clock
from gateway.settings import Settings
from indicators import periods
from indicators.catalogue import Catalogue, chosen, complete, parse, with_zones

log = logging.getLogger("gateway.indicators")

FRESH = 2.0
"""Seconds: a file that was written a moment ago may be written again without another time or size."""
Stamp = tuple[int, int, int]
"""Time, size and number of a file."""


class CatalogueInUse:
    """One per gateway. `path` and `time_zones`: as the settings name them."""

    def __init__(self, path: Path | None, time_zones: Mapping[str, str], clock: Clock | None = None) -> None:
        self._path = path
        self._zones = dict(time_zones)
        self._clock = clock or Clock()
        self._one = threading.Lock()
        self._stamp: Stamp | None = None
        self._digest = ""
        self.text: str | None = None
        """What was read; None: the catalogue of the package."""
        self.fault = ""
        """Why the file is not in use as it is now: a French sentence, or ""."""
        self.since = 0.0
        """When another one came into use (seconds since 1970); 0: the first one still is."""
        if path is None:
            self.catalogue = chosen(None, self._zones)
        else:
            content, self._stamp = _read(path)
            self._digest = hashlib.sha256(content).hexdigest()
            self.catalogue = self._made(content)

    def zone_of(self, finess: str) -> ZoneInfo:
        """The time zone of an establishment."""
        return periods.zone(periods.zone_of(finess, self.catalogue.time_zones))

    async def look(self) -> Catalogue:
        """The catalogue, after the file was looked at."""
        if self._path is not None:
            await asyncio.to_thread(self._look, self._path)
        return self.catalogue

    def _look(self, path: Path) -> None:
        with self._one:
            try:
                if self._stamp is not None and _stamp(path.stat()) == self._stamp:
                    return
                content, stamp = _read(path)
            except (OSError, ConfigurationFault) as e:
                # the same file may come back
                self._stamp = None
                self._bad(path.name, (e.strerror or type(e).__name__) if isinstance(e, OSError) else str(e))
                return
            self._stamp = stamp
            digest = hashlib.sha256(content).hexdigest()
            if digest == self._digest:
                self.fault = ""
                return
            try:
                self.catalogue = self._made(content)
            except ConfigurationFault as e:
                self._bad(path.name, str(e))
                return
            self._digest, self.fault, self.since = digest, "", self._clock.now()
            log.warning(
                "Le catalogue des indicateurs (%s) a changé : version %s en usage.",
                path.name,
                self.catalogue.version,
            )

    def _made(self, content: bytes) -> Catalogue:
        assert self._path is not None
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise ConfigurationFault(f"{self._path.name}: UnicodeDecodeError") from None
        made = with_zones(complete(parse(text, self._path.name), self._path.name), self._zones)
        self.text = text
        return made

    def _bad(self, name: str, fault: str) -> None:
        """What is in use stays so; it is told once."""
        sentence = (
            f"Le catalogue des indicateurs {name} n'est pas utilisable ({fault.removeprefix(f'{name}: ')}) ;"
            f" la version {self.catalogue.version}, lue avant, reste en usage."
        )
        if sentence != self.fault:
            log.error("%s", sentence)
        self.fault = sentence


def of_settings(settings: Settings, base_dir: Path, clock: Clock | None = None) -> CatalogueInUse:
    """The catalogue that the settings name. Raises `ConfigurationFault` for one, or for a time zone, that is none."""
    wanted = settings.indicators
    file = base_dir / wanted.catalogue if wanted.catalogue else None
    return CatalogueInUse(file, wanted.time_zones, clock)


def _read(path: Path) -> tuple[bytes, Stamp | None]:
    """(content, its stamp; None: it is too fresh to be told by its stamp). Raises `ConfigurationFault`."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            content = file.read()
    except OSError as e:
        raise ConfigurationFault(f"{path.name}: {e.strerror or type(e).__name__}") from e
    return content, None if abs(time.time() - found.st_mtime) < FRESH else _stamp(found)


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino
