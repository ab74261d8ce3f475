"""What the simulated DMP keeps: documents, submission sets, associations.

Purpose: the store and what changes it, each method one transaction under one lock; who may do what and whether the
metadata is right is checked before, by the modules of the transactions.
Guarantee: all or nothing for a lot. A uniqueId is kept once for ever (a deleted document keeps its own). A replaced
document becomes Deprecated. A change by ITI-57 gives the document a new entryUUID (its `lid` stays), so that a client
which keeps one is found out (spec/dmp.md §0.10); associations follow.
Fails: `Refusal` with an IHE code; words beginning with `sim:` are this simulator's own.
Source: spec/dmp.md §8.2 steps 7 to 9, §3.7, §3.8.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from lxml import etree

from connectors.dmp.simulator import rim
from connectors.dmp.simulator.answers import Refusal
from connectors.xds import ebrim


@dataclass(slots=True)
class StoredEntry:
    """One document of the store. `content` is exactly the bytes received."""

    described: rim.Described
    element: etree._Element
    content: bytes
    status: str
    """`Approved`, `Deprecated`, `Archived` or `Deleted`."""
    entry_uuid: str
    lid: str
    lot_uid: str
    version: int = 1
    """Version of the metadata (VersionInfo), not of the document."""
    replaces: str = ""
    """entryUUID that the RPLC association named."""

    @property
    def unique_id(self) -> str:
        return self.described.unique_id

    @property
    def patient_id(self) -> str:
        return self.described.patient_id

    @property
    def structures(self) -> frozenset[str]:
        """Identifiers of the authors' organisations."""
        return self.described.structures

    @property
    def confidentiality(self) -> tuple[str, ...]:
        return self.described.codes(ebrim.DOC_CONFIDENTIALITY)

    @property
    def format_code(self) -> str:
        return next(iter(self.described.codes(ebrim.DOC_FORMAT)), "")

    @property
    def signature(self) -> bool:
        """True for the XAdES document of a lot."""
        return self.described.signature

    @property
    def sha1(self) -> str:
        """Of the bytes kept, lower-case hex (the `hash` slot)."""
        return hashlib.sha1(self.content, usedforsecurity=False).hexdigest()

    def leaf(self) -> etree._Element:
        """The ExtrinsicObject of an answer."""
        return rim.leaf(
            self.element,
            self.entry_uuid,
            self.lid,
            self.status,
            self.version,
            size=len(self.content),
            sha1=self.sha1,
        )


@dataclass(slots=True)
class StoredSet:
    """One submission set."""

    described: rim.Lot
    element: etree._Element
    entry_uuid: str

    def leaf(self) -> etree._Element:
        """The RegistryPackage of an answer."""
        return rim.package(self.element, self.entry_uuid)


@dataclass(slots=True)
class StoredAssociation:
    """One association, between entryUUIDs."""

    uuid: str
    kind: str
    source: str
    target: str
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def leaf(self) -> etree._Element:
        """The Association of an answer."""
        return rim.association(self.uuid, self.kind, self.source, self.target, self.slots)


@dataclass(frozen=True, slots=True)
class NewDocument:
    """One document to keep."""

    described: rim.Described
    element: etree._Element
    content: bytes
    replaces: str = ""


class Registry:
    """The store. `documents` are the documents by uniqueId, signatures left out: read it, never change it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.documents: dict[str, StoredEntry] = {}
        self._folder = folder
        self._signatures: dict[str, StoredEntry] = {}
        self._by_uuid: dict[str, StoredEntry] = {}
        self._sets: dict[str, StoredSet] = {}
        self._associations: list[StoredAssociation] = []
        self._lock = threading.RLock()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Everything read inside is of one instant."""
        with self._lock:
            yield

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self.documents.clear()
            self._signatures.clear()
            self._by_uuid.clear()
            self._sets.clear()
            self._associations.clear()

    # --- reading ----------------------------------------------------------------------------------------------

    def entries(self, patient: str) -> list[StoredEntry]:
        """Documents and signatures of a patient, oldest first."""
        return [e for e in self._by_uuid.values() if e.patient_id == patient]

    def by_uuid(self, entry_uuid: str) -> StoredEntry | None:
        """The document whose entryUUID is now `entry_uuid`."""
        return self._by_uuid.get(entry_uuid)

    def by_unique_id(self, unique_id: str) -> StoredEntry | None:
        """The document or signature of a uniqueId, whatever its status."""
        return self.documents.get(unique_id) or self._signatures.get(unique_id)

    def by_lid(self, lid: str) -> StoredEntry | None:
        """The document of a logicalID."""
        return next((e for e in self._by_uuid.values() if e.lid == lid), None)

    def sets(self, patient: str) -> list[StoredSet]:
        """Submission sets of a patient, oldest first."""
        return [s for s in self._sets.values() if s.described.patient_id == patient]

    def associations(self) -> list[StoredAssociation]:
        """All of them, oldest first."""
        return list(self._associations)

    # --- writing ----------------------------------------------------------------------------------------------

    def new_set(self, lot: rim.Lot) -> None:
        """Raises `Refusal` when the submission set's uniqueId was used."""
        if lot.unique_id in self._sets:
            raise Refusal("XDSDuplicateUniqueIdInRegistry", "sim: lot déjà connu")

    def keep(
        self,
        lot: rim.Lot,
        package: etree._Element,
        documents: Sequence[NewDocument],
        associations: Sequence[tuple[str, str, str, Mapping[str, tuple[str, ...]]]],
    ) -> list[StoredEntry]:
        """ITI-41: keep a checked lot.

        `associations`: kind, source, target (ids of the request or entryUUIDs), slots.
        """
        with self._lock:
            stored_set = self._keep_set(lot, package)
            names = {lot.object_id: stored_set.entry_uuid}
            made: list[StoredEntry] = []
            for one in documents:
                uuid = uuid4().urn
                names[one.described.object_id] = uuid
                entry = StoredEntry(
                    described=one.described,
                    element=deepcopy(one.element),  # the whole request would stay in memory with it
                    content=one.content,
                    status="Approved",
                    entry_uuid=uuid,
                    lid=uuid,
                    lot_uid=lot.unique_id,
                    replaces=one.replaces,
                )
                made.append(entry)
                self._by_uuid[uuid] = entry
                if one.replaces:
                    self._by_uuid[one.replaces].status = "Deprecated"
                if entry.signature:
                    self._signatures[entry.unique_id] = entry
                else:
                    self.documents[entry.unique_id] = entry
                    self._keep_file(entry)
            for kind, source, target, values in associations:
                ends = (names.get(source, source), names.get(target, target))
                self._associations.append(StoredAssociation(uuid4().urn, kind, *ends, values))
            return made

    def _keep_set(self, lot: rim.Lot, package: etree._Element) -> StoredSet:
        made = StoredSet(lot, deepcopy(package), uuid4().urn)
        self._sets[lot.unique_id] = made
        return made

    def _keep_file(self, entry: StoredEntry) -> None:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{entry.unique_id}.xml").write_bytes(entry.content)

    def _renamed(self, entry: StoredEntry) -> None:
        """A new entryUUID; associations follow."""
        old, entry.entry_uuid = entry.entry_uuid, uuid4().urn
        del self._by_uuid[old]
        self._by_uuid[entry.entry_uuid] = entry
        for one in self._associations:
            one.source = entry.entry_uuid if one.source == old else one.source
            one.target = entry.entry_uuid if one.target == old else one.target

    def set_status(self, lot: rim.Lot, package: etree._Element, entry: StoredEntry, status: str) -> None:
        """ITI-57: another availability status."""
        with self._lock:
            self._keep_set(lot, package)
            entry.status = status
            self._renamed(entry)

    def set_metadata(
        self,
        lot: rim.Lot,
        package: etree._Element,
        entry: StoredEntry,
        new: rim.Described,
        element: etree._Element,
    ) -> None:
        """ITI-57: a new version of the metadata of one document."""
        with self._lock:
            stored_set = self._keep_set(lot, package)
            entry.described = new
            entry.element = deepcopy(element)
            entry.version += 1
            self._renamed(entry)
            slots = {"SubmissionSetStatus": ("Original",), "PreviousVersion": (str(entry.version - 1),)}
            self._associations.append(
                StoredAssociation(
                    uuid4().urn, ebrim.HAS_MEMBER, stored_set.entry_uuid, entry.entry_uuid, slots
                )
            )
