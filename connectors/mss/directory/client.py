"""Look-ups: mailboxes of a professional or a structure, owner of a mailbox. I/O.

Guarantee: a fresh answer of the cache asks nobody; while the directory does not answer, an older one serves; nothing
is asked about what may be a patient's address; equal questions at the same time are asked once. A caller that stops
waiting does not stop the look-up: the next one finds its answer in the cache.
Fails: `DirectoryUnavailable` from a look-up without any answer; `NotToBeAsked` for what is no identifier, and for an
address that must not be asked about; `ConfigurationFault` from `create`.
Source: spec/mssante.md §4 (searches, identifiers); Annuaire Santé API v2 (search parameters of each resource).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence

from connectors.mss.directory.cache import Cache
from connectors.mss.directory.circuit import Circuit
from connectors.mss.directory.failures import DirectoryUnavailable, NotToBeAsked
from connectors.mss.directory.model import Entry, Owner, from_json, may_be_asked, owner_among, to_json
from connectors.mss.directory.reading import FINESS, PERSON_ID, RPPS, Resource, entries_of
from connectors.mss.directory.searching import Found, Searches, SearchFault
from connectors.mss.directory.settings import DirectorySettings

log = logging.getLogger("connectors.mss.directory")

_RPPS = re.compile(r"8?(\d{11})", re.ASCII)
_FINESS = re.compile(r"\d[\dAB]\d{7}", re.ASCII)
_LOGICAL_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_MOST_RECORDS = 3
"""Records of one professional whose roles are asked for."""

Ask = Callable[[str], Awaitable[tuple[Entry, ...]]]


def create(settings: DirectorySettings) -> Directory | None:
    """The directory of the settings; None when there is none. Raises `ConfigurationFault`."""
    return None if settings.backend == "none" else Directory(settings)


class Directory:
    """One per gateway; used on one event loop, then closed."""

    def __init__(self, settings: DirectorySettings) -> None:
        self.patience = settings.patience
        self._settings = settings
        self._searches = Searches(settings)
        self._cache = Cache(settings.cache, settings.cache_entries, settings.stale_lifetime)
        self._circuit = Circuit(settings.faults, settings.pause, time.monotonic)
        self._asking: dict[str, asyncio.Task[tuple[Entry, ...]]] = {}

    async def close(self) -> None:
        """Give up the look-ups under way; close connections and cache."""
        under_way = list(self._asking.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._searches.close()
        await asyncio.to_thread(self._cache.close)

    # --- the three questions -----------------------------------------------------------------------------------------

    async def addresses_of_person(self, rpps: str) -> tuple[Entry, ...]:
        """The listed mailboxes of a professional. `rpps`: eleven digits, or PS_IdNat (8 and the RPPS)."""
        match = _RPPS.fullmatch(rpps)
        if match is None or len(rpps) not in (11, 12):
            raise NotToBeAsked("not an RPPS number")
        number = match[1]

        async def ask(key: str) -> tuple[Entry, ...]:
            same = f"{PERSON_ID}|8{number},{PERSON_ID}|{number},{RPPS}|{number}"
            people = await self._searches.search("Practitioner", [("identifier", same)], key)
            resources: list[Resource] = list(people.resources)
            for identifier in _logical_ids(people.resources)[:_MOST_RECORDS]:
                asked = [
                    ("practitioner", identifier),
                    ("_include", "PractitionerRole:organization"),
                    ("_include", "PractitionerRole:practitioner"),
                ]
                resources += (await self._searches.search("PractitionerRole", asked, key)).resources
            found = entries_of(resources)
            return tuple(e for e in found if e.person is not None and e.person.rpps == number)

        return _listed(await self._answer(f"person {number}", ask, None))

    async def addresses_of_organisation(self, finess: str) -> tuple[Entry, ...]:
        """The listed mailboxes of a structure. `finess`: nine characters, geographical or legal entity."""
        if not _FINESS.fullmatch(finess):
            raise NotToBeAsked("not a FINESS number")

        async def ask(key: str) -> tuple[Entry, ...]:
            found = await self._searches.search("Organization", [("identifier", f"{FINESS}|{finess}")], key)
            entries = entries_of(found.resources)
            return tuple(e for e in entries if e.structure is not None and e.structure.finess == finess)

        return _listed(await self._answer(f"structure {finess}", ask, None))

    async def owner_of(self, address: str, patience: float | None = None) -> Owner | None:
        """Whose mailbox `address` is; None when the directory does not know it, or names several owners.

        `patience`: seconds to wait for the directory before an older answer serves; None: until it answers.
        """
        if not may_be_asked(address):
            raise NotToBeAsked("not an address that may be looked up")

        async def ask(key: str) -> tuple[Entry, ...]:
            # strings are compared with case by `:exact`
            spellings = ",".join(_escaped(a) for a in dict.fromkeys((address, address.lower())))
            box = ("mailbox-mss:exact", spellings)
            role = [
                box,
                ("_include", "PractitionerRole:practitioner"),
                ("_include", "PractitionerRole:organization"),
            ]
            found = await _all(
                self._searches.search("Practitioner", [box], key),
                self._searches.search("PractitionerRole", role, key),
                self._searches.search("Organization", [box], key),
            )
            if not all(f.whole for f in found):
                # one of those that were not read may have it too
                return ()
            entries = entries_of([r for f in found for r in f.resources])
            return tuple(e for e in entries if e.address.lower() == address.lower())

        return owner_among(await self._answer(f"owner {address.lower()}", ask, patience), address)

    # --- answers -----------------------------------------------------------------------------------------------------

    async def _answer(self, question: str, ask: Ask, patience: float | None) -> tuple[Entry, ...]:
        """Of the cache while it is good, else of the directory, else of the cache however old."""
        kept = await self._kept(question)
        if kept is not None:
            entries, age = kept
            if age <= (self._settings.lifetime if entries else self._settings.unknown_lifetime):
                return entries
        try:
            async with asyncio.timeout(patience):
                return await asyncio.shield(self._task(question, ask))
        except (DirectoryUnavailable, TimeoutError) as e:
            if kept is not None:
                return kept[0]
            raise (e if isinstance(e, DirectoryUnavailable) else DirectoryUnavailable("late")) from None

    async def _kept(self, question: str) -> tuple[tuple[Entry, ...], float] | None:
        kept = await asyncio.to_thread(self._cache.get, question)
        if kept is None:
            return None
        try:
            return from_json(kept[0]), kept[1]
        except ValueError:
            return None

    def _task(self, question: str, ask: Ask) -> asyncio.Task[tuple[Entry, ...]]:
        """The look-up of a question, begun or under way."""
        if (task := self._asking.get(question)) is None:
            task = asyncio.create_task(self._look_up(question, ask), name="mss-directory")
            self._asking[question] = task
            task.add_done_callback(lambda done: self._done(question, done))
        return task

    def _done(self, question: str, task: asyncio.Task[tuple[Entry, ...]]) -> None:
        self._asking.pop(question, None)
        # nobody may be waiting any more: what it raised was told to the circuit
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, DirectoryUnavailable):
            log.error("directory: a look-up failed (%s)", type(error).__name__)

    async def _look_up(self, question: str, ask: Ask) -> tuple[Entry, ...]:
        self._circuit.enter()
        try:
            async with asyncio.timeout(self._settings.total_timeout):
                entries = await ask(await self._searches.key())
        except SearchFault as e:
            self._circuit.fault(str(e), e.hold)
            raise
        except TimeoutError:
            self._circuit.fault("late")
            raise DirectoryUnavailable("late") from None
        except Exception as e:
            # ours: it must not hold the circuit's one try for ever
            self._circuit.fault(type(e).__name__)
            raise
        self._circuit.good()
        await asyncio.to_thread(self._cache.put, question, to_json(entries))
        return entries


async def _all(*searches: Awaitable[Found]) -> list[Found]:
    """The results of searches made together; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(s) for s in searches]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _listed(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Each mailbox once, those of the red list left out; the entry that names a structure wins."""
    made: dict[str, Entry] = {}
    hidden = {e.address.lower() for e in entries if e.red_list}
    for entry in entries:
        key = entry.address.lower()
        if key not in hidden and (key not in made or made[key].structure is None):
            made[key] = entry
    return tuple(made.values())


def _logical_ids(resources: Sequence[Resource]) -> list[str]:
    identifiers = (r.get("id") for r in resources if r.get("resourceType") == "Practitioner")
    return [i for i in identifiers if isinstance(i, str) and _LOGICAL_ID.fullmatch(i)]


def _escaped(text: str) -> str:
    """A value of a search parameter (FHIR R4 §3.1.1.4.0.2)."""
    return re.sub(r"([\\$,|])", r"\\\1", text)
