"""What a professional asks of a DMP, in AIR mode: search, lineage, retrieval, visibility, archiving.

Purpose: TD3.1a, TD3.2, TD3.3a, TD3.3b, TD3.3d and TD0.2, each as one call with one result. The subject given says in
whose name.
Guarantee: an update names the entryUUID read just before it and is read back when its outcome is not known; a
document is given only when its bytes have the size and the SHA-1 that the registry announces; a lineage is never
concluded from an incomplete answer.
Fails: returns a `Failure` (class, the DMP's code and words); never raises for what the network brings.
Source: spec/dmp.md §1.1, §3.8, §5; RG_3130; EX_GEN-1060 (no update without a change).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from lxml import etree

from connectors.dmp import existence, mtom
from connectors.dmp.existence import Existence
from connectors.dmp.link import Link
from connectors.dmp.requests import Request
from connectors.dmp.responses import Answer, Failure
from connectors.dmp.vihf import VihfSubject
from connectors.port import OutcomeClass
from connectors.xds import ebrim, queries, registry
from connectors.xds.mapping import sha1_of
from connectors.xds.model import SubmissionSet, XdsCode
from connectors.xds.queries import StoredQuery
from connectors.xds.registry import Found, RegisteredDocument

MAX_VERSIONS = 100
"""Steps of a lineage: more than any document has, so that a loop in a registry ends."""
_IHE = f"{{{ebrim.IHE}}}"
NOT_FOUND = "NOT_FOUND"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Search:
    """What a query found. `partial`: the DMP said that it is not all; `warnings` are its codes."""

    found: Found
    partial: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lineage:
    """All versions of a document, oldest first."""

    asked: str
    versions: tuple[RegisteredDocument, ...]
    newer_hidden: bool = False
    """The DMP names a newer version that it does not show (hidden from this professional)."""

    @property
    def newest(self) -> RegisteredDocument:
        """The last version."""
        return self.versions[-1]

    @property
    def is_newest(self) -> bool:
        """True when nothing replaces the document asked about."""
        return self.newest.unique_id == self.asked and not self.newer_hidden


@dataclass(frozen=True, slots=True)
class _Step:
    """Neighbours of a document in its lineage, and whether some are named but not shown."""

    documents: tuple[RegisteredDocument, ...]
    hidden: bool


@dataclass(frozen=True, slots=True)
class Retrieved:
    """One document and its entry."""

    document: RegisteredDocument
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update came to. `changed` False: it was so already, nothing was sent. `recovered`: the answer was
    lost, the DMP was read back."""

    unique_id: str
    changed: bool
    recovered: bool = False


class Consultation:
    """Calls over one link. Safe for concurrent use."""

    def __init__(self, link: Link, clock: Callable[[], datetime]) -> None:
        self._link = link
        self._clock = clock

    async def exists(
        self, subject: VihfSubject, patient: tuple[str, str], processing: str
    ) -> Existence | Failure:
        """TD0.2. `patient`: (INS OID, matricule)."""
        answer = await self._ask(lambda: self._link.build.exists(subject, patient, processing, self._clock()))
        if isinstance(answer, Failure):
            return answer
        if answer.content is None:
            return Failure(OutcomeClass.TRANSIENT, "EMPTY", "Réponse du DMP sans contenu.")
        return existence.read(answer.content)

    async def search(self, subject: VihfSubject, wanted: StoredQuery) -> Search | Failure:
        """TD3.1a: one stored query."""
        answer = await self._ask(lambda: self._link.build.query(subject, wanted, self._clock()))
        if isinstance(answer, Failure):
            return answer
        if answer.content is None:
            return Search(Found(), answer.partial, answer.warnings)
        # hundreds of documents take longer to read than the event loop may wait
        found = await asyncio.to_thread(registry.read_objects, answer.content)
        return Search(found, answer.partial, answer.warnings)

    async def search_batches(
        self,
        subject: VihfSubject,
        make: Callable[[Sequence[str]], StoredQuery],
        identifiers: Sequence[str],
    ) -> Search | Failure:
        """One query for many documents, 20 at a time; the first failure ends it."""
        parts: list[Search] = []
        for start in range(0, len(identifiers), queries.BATCH):
            one = await self.search(subject, make(identifiers[start : start + queries.BATCH]))
            if isinstance(one, Failure):
                return one
            parts.append(one)
        return Search(
            Found(
                documents=tuple(_once((d for p in parts for d in p.found.documents), lambda d: d.entry_uuid)),
                sets=tuple(_once((s for p in parts for s in p.found.sets), lambda s: s.entry_uuid)),
                associations=tuple(_once((a for p in parts for a in p.found.associations), lambda a: a.id)),
            ),
            any(p.partial for p in parts),
            tuple(dict.fromkeys(w for p in parts for w in p.warnings)),
        )

    async def document(self, subject: VihfSubject, unique_id: str) -> RegisteredDocument | Failure:
        """The entry of one document, whatever its status but Deleted."""
        answer = await self.search(subject, queries.get_documents((unique_id,)))
        if isinstance(answer, Failure):
            return answer
        found = [d for d in answer.found.documents if d.unique_id == unique_id]
        if answer.partial:
            return _incomplete()
        if not found:
            return Failure(OutcomeClass.PERMANENT, NOT_FOUND, "Document absent du DMP.")
        if len({d.logical_id for d in found}) == 1:
            # each update of the metadata is a version of its own: the last one counts
            return max(found, key=lambda d: int(d.version) if d.version.isdecimal() else 0)
        return Failure(OutcomeClass.PERMANENT, "AMBIGUOUS", "Plusieurs références pour ce document.")

    async def lineage(self, subject: VihfSubject, unique_id: str) -> Lineage | Failure:
        """The RPLC chain through one document, in both directions (SC.CDA/DD.05)."""
        start = await self.document(subject, unique_id)
        if isinstance(start, Failure):
            return start
        chain = [start]
        hidden = False
        for forward in (True, False):
            current = start
            while True:
                step = await self._neighbours(subject, current, forward=forward)
                if isinstance(step, Failure):
                    return step
                seen = {d.unique_id for d in chain}
                near = {d.unique_id: d for d in step.documents if d.unique_id not in seen}
                if len(near) > 1:
                    return Failure(
                        OutcomeClass.PERMANENT, "AMBIGUOUS", "Plusieurs versions remplacent la même."
                    )
                if not near:
                    hidden = hidden or (forward and step.hidden)
                    break
                if len(chain) == MAX_VERSIONS:
                    return Failure(OutcomeClass.PERMANENT, "TOO_LONG", "Chaîne de versions trop longue.")
                (current,) = near.values()
                chain = [*chain, current] if forward else [current, *chain]
        return Lineage(unique_id, tuple(chain), hidden)

    async def _neighbours(
        self, subject: VihfSubject, current: RegisteredDocument, *, forward: bool
    ) -> _Step | Failure:
        """What replaces `current` (forward), or what it replaces."""
        answer = await self.search(subject, queries.get_related_documents(current.unique_id))
        if isinstance(answer, Failure):
            return answer
        if answer.partial:
            return _incomplete()
        there = {i: d for d in answer.found.documents for i in d.identifiers}
        own = current.identifiers
        ends = set()
        for link in answer.found.associations:
            if link.kind != ebrim.REPLACES:
                continue
            this, other = (link.target, link.source) if forward else (link.source, link.target)
            # entryUUIDs change with each update: an end that is no other document's is this one's former name
            if other not in own and (this in own or this not in there):
                ends.add(other)
        missing = sorted(e for e in ends if e not in there)
        if missing:
            more = await self.search(subject, queries.get_documents(entry_uuids=missing[: queries.BATCH]))
            if isinstance(more, Failure):
                return more
            there |= {i: d for d in more.found.documents for i in d.identifiers}
        return _Step(tuple(there[e] for e in ends if e in there), any(e not in there for e in ends))

    async def retrieve(self, subject: VihfSubject, unique_id: str) -> Retrieved | Failure:
        """TD3.2: the entry, then the bytes, checked against it."""
        entry = await self.document(subject, unique_id)
        if isinstance(entry, Failure):
            return entry
        answer = await self._ask(
            lambda: self._link.build.retrieve(subject, entry.repository, unique_id, self._clock())
        )
        if isinstance(answer, Failure):
            return answer
        content = await asyncio.to_thread(_content, answer, unique_id)
        if content is None:
            code = next(iter(answer.warnings), "XDSDocumentUniqueIdError")
            return Failure(OutcomeClass.PERMANENT, code, "Document non fourni par l'entrepôt du DMP.")
        if (entry.size and entry.size != len(content)) or (entry.sha1 and entry.sha1 != sha1_of(content)):
            return Failure(
                OutcomeClass.TRANSIENT, "INTEGRITY", "Le document reçu diffère de celui qui est annoncé."
            )
        return Retrieved(entry, content)

    async def set_confidentiality(
        self,
        subject: VihfSubject,
        lot: SubmissionSet,
        unique_id: str,
        *,
        add: Sequence[XdsCode],
        remove: Collection[str],
    ) -> Updated | Failure:
        """TD3.3a, TD3.3b: add and remove visibility codes; the others stay."""
        entry = await self.document(subject, unique_id)
        if isinstance(entry, Failure):
            return entry
        if entry.element is None:
            return Failure(OutcomeClass.TRANSIENT, "EMPTY", "Réponse du DMP sans contenu.")
        kept = tuple(c for c in entry.confidentiality if c.code not in remove)
        there = {c.code for c in kept}
        codes = (*kept, *(c for c in add if c.code not in there))
        if {c.code for c in codes} == {c.code for c in entry.confidentiality}:
            return Updated(unique_id, changed=False)
        element = entry.element

        def done(found: RegisteredDocument) -> bool:
            return {c.code for c in found.confidentiality} == {c.code for c in codes}

        return await self._update(
            subject,
            unique_id,
            lambda: self._link.build.confidentiality(subject, lot, element, codes, self._clock()),
            done,
        )

    async def set_status(
        self, subject: VihfSubject, lot: SubmissionSet, unique_id: str, status: str
    ) -> Updated | Failure:
        """TD3.3d: Archived or Approved (whole status URN)."""
        entry = await self.document(subject, unique_id)
        if isinstance(entry, Failure):
            return entry
        if entry.status == status:
            return Updated(unique_id, changed=False)
        original = entry.status
        return await self._update(
            subject,
            unique_id,
            lambda: self._link.build.status(subject, lot, entry.entry_uuid, original, status, self._clock()),
            lambda found: found.status == status,
        )

    async def _update(
        self,
        subject: VihfSubject,
        unique_id: str,
        make: Callable[[], Request],
        done: Callable[[RegisteredDocument], bool],
    ) -> Updated | Failure:
        """Send an update once; read it back when its outcome is not known."""
        answer = await self._link.call(await asyncio.to_thread(make), writes=True)
        if isinstance(answer, Answer):
            return Updated(unique_id, changed=True)
        if answer.outcome is not OutcomeClass.UNCERTAIN:
            return answer
        found = await self.document(subject, unique_id)
        if isinstance(found, Failure):
            return answer
        if done(found):
            return Updated(unique_id, changed=True, recovered=True)
        return Failure(OutcomeClass.TRANSIENT, "NOT_DONE", "Vérifié : le DMP n'a pas été modifié.")

    async def _ask(self, make: Callable[[], Request]) -> Answer | Failure:
        """Signing takes a thread; nothing is written."""
        return await self._link.call(await asyncio.to_thread(make), writes=False)


def _incomplete() -> Failure:
    return Failure(OutcomeClass.TRANSIENT, "PartialSuccess", "Recherche incomplète dans le DMP.")


def _once(values: Iterable[_T], key: Callable[[_T], str]) -> list[_T]:
    """Without repetition, the first kept."""
    kept: dict[str, _T] = {}
    for value in values:
        kept.setdefault(key(value), value)
    return list(kept.values())


def _content(answer: Answer, unique_id: str) -> bytes | None:
    """The bytes of one DocumentResponse: an attachment, or base64 in place."""
    if answer.content is None:
        return None
    for one in answer.content.findall(f"{_IHE}DocumentResponse"):
        if (one.findtext(f"{_IHE}DocumentUniqueId") or "").strip() != unique_id:
            continue
        held = one.find(f"{_IHE}Document")
        if held is None:
            return None
        include: etree._Element | None = held.find(f"{{{ebrim.XOP}}}Include")
        try:
            if include is not None:
                return mtom.resolve(include.get("href") or "", answer.parts)
            return base64.b64decode(held.text or "", validate=False)
        except (ValueError, binascii.Error):
            return None
    return None
