"""What the simulated DMP keeps, and the rules of its registry.

Purpose: ITI-41, ITI-18 GetDocuments and ITI-57 on an in-memory store. All or nothing for a lot.
Guarantee: a uniqueId is kept once for ever (a deleted document keeps its own); a replaced document becomes Deprecated
and the entryUUID of what is updated changes, as the DMP does (spec/dmp.md §0.10).
Fails: `Refusal` with an IHE or DMP code; words beginning with `sim:` are this simulator's own.
Source: spec/dmp.md §8.2 steps 4 to 10.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import cryptography.x509 as x509
from lxml import etree

from connectors.dmp.simulator.answers import Refusal
from connectors.dmp.simulator.checks import Caller, xades
from connectors.xds import ebrim
from connectors.xds.oid import is_oid

RIM = f"{{{ebrim.RIM}}}"
_STRUCTURE_SLOT = "authorInstitution"
_REQUIRED_SLOTS = (
    "creationTime",
    "languageCode",
    "legalAuthenticator",
    "serviceStartTime",
    "sourcePatientId",
)
_REQUIRED_CODES = {
    ebrim.DOC_CLASS: "classCode",
    ebrim.DOC_CONFIDENTIALITY: "confidentialityCode",
    ebrim.DOC_FORMAT: "formatCode",
    ebrim.DOC_FACILITY: "healthcareFacilityTypeCode",
    ebrim.DOC_PRACTICE: "practiceSettingCode",
    ebrim.DOC_TYPE: "typeCode",
    ebrim.DOC_AUTHOR: "author",
}


@dataclass(slots=True)
class StoredEntry:
    """One document of the store. `content` is exactly the bytes received."""

    unique_id: str
    content: bytes
    status: str
    """`Approved`, `Deprecated` or `Deleted`."""
    entry_uuid: str
    patient_id: str
    lot_uid: str
    structures: frozenset[str]
    """Identifiers of the authors' organisations."""
    confidentiality: tuple[str, ...]
    format_code: str
    replaces: str = ""
    """entryUUID of what it replaced."""


@dataclass(frozen=True, slots=True)
class Described:
    """One ExtrinsicObject as read."""

    object_id: str
    unique_id: str
    patient_id: str
    slots: Mapping[str, tuple[str, ...]]
    codes: Mapping[str, tuple[str, ...]]
    structures: frozenset[str]
    signature: bool


def _slots(element: etree._Element) -> dict[str, tuple[str, ...]]:
    return {
        s.get("name") or "": tuple(v.text or "" for v in s.iterfind(f"{RIM}ValueList/{RIM}Value"))
        for s in element.findall(f"{RIM}Slot")
    }


def _external(element: etree._Element, scheme: str) -> str:
    """Value of an ExternalIdentifier, by scheme (never by registryObject: samples get it wrong)."""
    for found in element.findall(f"{RIM}ExternalIdentifier"):
        if found.get("identificationScheme") == scheme:
            return found.get("value") or ""
    return ""


def describe(element: etree._Element) -> Described:
    """Read one ExtrinsicObject."""
    codes: dict[str, tuple[str, ...]] = {}
    structures: set[str] = set()
    for found in element.findall(f"{RIM}Classification"):
        scheme = found.get("classificationScheme") or ""
        codes[scheme] = (*codes.get(scheme, ()), found.get("nodeRepresentation") or "")
        if scheme == ebrim.DOC_AUTHOR:
            for value in _slots(found).get(_STRUCTURE_SLOT, ()):
                structures.add(value.split("^")[9] if value.count("^") >= 9 else "")
    return Described(
        object_id=element.get("id") or "",
        unique_id=_external(element, ebrim.DOC_UNIQUE_ID),
        patient_id=_external(element, ebrim.DOC_PATIENT_ID),
        slots=_slots(element),
        codes=codes,
        structures=frozenset(s for s in structures if s),
        signature="E1762" in codes.get(ebrim.DOC_TYPE, ()),
    )


class Registry:
    """The store. Every public method is one transaction under one lock."""

    def __init__(
        self,
        authority: x509.Certificate,
        closed: frozenset[str],
        unknown: frozenset[str],
        folder: Path | None = None,
        strict: bool = True,
    ) -> None:
        self.documents: dict[str, StoredEntry] = {}
        self._authority = authority
        self._closed = closed
        self._unknown = unknown
        self._folder = folder
        self._strict = strict
        self._lots: set[str] = set()
        self._lock = threading.Lock()

    def patient(self, patient_id: str) -> None:
        """DMPClosed and XDSUnknownPatientId, by matricule."""
        matricule = patient_id.split("^", 1)[0]
        if matricule in self._closed:
            raise Refusal("DMPClosed", "DMP fermé")
        if matricule in self._unknown:
            raise Refusal("XDSUnknownPatientId", "sim: aucun DMP pour cette identité")

    def find(self, unique_ids: list[str]) -> list[str]:
        """entryUUID of the documents that exist and are not deleted."""
        with self._lock:
            found = (self.documents.get(uid) for uid in unique_ids)
            return [e.entry_uuid for e in found if e is not None and e.status != "Deleted"]

    def submit(self, request: etree._Element, parts: Mapping[str, bytes], caller: Caller) -> list[str]:
        """ITI-41. `request`: SubmitObjectsRequest; `parts`: bytes by Document/@id. uniqueIds kept."""
        listed = request.find(f"{RIM}RegistryObjectList")
        package = listed.find(f"{RIM}RegistryPackage") if listed is not None else None
        if listed is None or package is None:
            raise Refusal("XDSRepositoryMetadataError", "sim: RegistryPackage absent")
        lot_uid = self._lot(package, caller)
        described = [describe(e) for e in listed.findall(f"{RIM}ExtrinsicObject")]
        documents = [d for d in described if not d.signature]
        signatures = [d for d in described if d.signature]
        if not documents or len(signatures) != 1:
            raise Refusal("XDSRepositoryMetadataError", "sim: un document et une signature attendus")
        for one in described:
            _check_described(one, parts, caller)
        ids = [d.unique_id for d in described]
        if len(set(ids)) != len(ids):
            raise Refusal("XDSRepositoryDuplicateUniqueIdInMessage", "sim: uniqueId en double")
        for one in documents:
            if self._strict and caller.structure not in one.structures:
                raise Refusal(
                    "XDSRepositoryMetadataError",
                    "Aucun AuthorInstitution ne correspond à l'utilisateur du VIHF",
                )
        contents = {d.unique_id: parts[d.object_id] for d in documents}
        xades(parts[signatures[0].object_id], contents, lot_uid, self._authority)
        replaced = _associations(listed, ebrim.REPLACES)
        with self._lock:
            return self._commit(lot_uid, documents, parts, replaced, caller)

    def _lot(self, package: etree._Element, caller: Caller) -> str:
        lot_uid = _external(package, ebrim.SET_UNIQUE_ID)
        patient = _external(package, ebrim.SET_PATIENT_ID)
        if not is_oid(lot_uid) or not is_oid(_external(package, ebrim.SET_SOURCE_ID)):
            raise Refusal("XDSRepositoryMetadataError", "sim: uniqueId ou sourceId du lot")
        if not _slots(package).get("submissionTime"):
            raise Refusal("XDSRepositoryMetadataError", "sim: submissionTime")
        if patient != caller.patient:
            raise Refusal("XDSPatientIdDoesNotMatch", "sim: lot et VIHF")
        self.patient(patient)
        return lot_uid

    def _commit(
        self,
        lot_uid: str,
        documents: list[Described],
        parts: Mapping[str, bytes],
        replaced: Mapping[str, str],
        caller: Caller,
    ) -> list[str]:
        if lot_uid in self._lots:
            raise Refusal("XDSDuplicateUniqueIdInRegistry", "sim: lot déjà connu")
        targets: list[StoredEntry] = []
        for one in documents:
            if one.unique_id in self.documents:
                same = self.documents[one.unique_id].content == parts[one.object_id]
                code = "XDSDuplicateUniqueIdInRegistry" if same else "XDSNonIdenticalHash"
                raise Refusal(code, "sim: uniqueId déjà connu")
            if one.object_id in replaced:
                targets.append(self._replaceable(replaced[one.object_id], caller))
        for target in targets:
            target.status = "Deprecated"
            target.entry_uuid = uuid4().urn
        for one in documents:
            self.documents[one.unique_id] = StoredEntry(
                unique_id=one.unique_id,
                content=parts[one.object_id],
                status="Approved",
                entry_uuid=uuid4().urn,
                patient_id=one.patient_id,
                lot_uid=lot_uid,
                structures=one.structures,
                confidentiality=one.codes.get(ebrim.DOC_CONFIDENTIALITY, ()),
                format_code=next(iter(one.codes.get(ebrim.DOC_FORMAT, ())), ""),
                replaces=replaced.get(one.object_id, ""),
            )
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                (self._folder / f"{one.unique_id}.xml").write_bytes(parts[one.object_id])
        self._lots.add(lot_uid)
        return [d.unique_id for d in documents]

    def _by_uuid(self, entry_uuid: str, caller: Caller) -> StoredEntry:
        for entry in self.documents.values():
            if entry.entry_uuid == entry_uuid and entry.status != "Deleted":
                if entry.patient_id != caller.patient:
                    raise Refusal("XDSPatientIdDoesNotMatch", "sim: document d'un autre patient")
                return entry
        raise Refusal("UnresolvedReferenceException", "sim: entryUUID inconnu")

    def _replaceable(self, entry_uuid: str, caller: Caller) -> StoredEntry:
        target = self._by_uuid(entry_uuid, caller)
        if target.status != "Approved":
            raise Refusal("XDSRegistryDeprecatedDocumentError", "sim: version déjà remplacée")
        return target

    def update(self, request: etree._Element, caller: Caller) -> str:
        """ITI-57: the status of one document; its uniqueId."""
        listed = request.find(f"{RIM}RegistryObjectList")
        package = listed.find(f"{RIM}RegistryPackage") if listed is not None else None
        if listed is None or package is None:
            raise Refusal("XDSRegistryMetadataError", "sim: RegistryPackage absent")
        lot_uid = self._lot(package, caller)
        asked = [
            a for a in listed.findall(f"{RIM}Association") if a.get("associationType") == ebrim.UPDATE_STATUS
        ]
        if len(asked) != 1:
            raise Refusal("XDSMetadataUpdateError", "sim: une association attendue")
        slots = _slots(asked[0])
        with self._lock:
            target = self._by_uuid(asked[0].get("targetObject") or "", caller)
            if self._strict and caller.structure not in target.structures:
                raise Refusal("XDSMetadataUpdateError", "sim: document d'une autre structure")
            original = next(iter(slots.get("OriginalStatus", ())), "").rpartition(":")[2]
            new = next(iter(slots.get("NewStatus", ())), "").rpartition(":")[2]
            if original != target.status or new not in ("Deleted", "Archived", "Approved"):
                raise Refusal("XDSMetadataUpdateError", "sim: OriginalStatus ou NewStatus")
            target.status = new
            target.entry_uuid = uuid4().urn
            self._lots.add(lot_uid)
            return target.unique_id


def _associations(listed: etree._Element, kind: str) -> dict[str, str]:
    """Source object to target object of the associations of one kind."""
    return {
        a.get("sourceObject") or "": a.get("targetObject") or ""
        for a in listed.findall(f"{RIM}Association")
        if a.get("associationType") == kind
    }


def _check_described(one: Described, parts: Mapping[str, bytes], caller: Caller) -> None:
    """Metadata of one object, and its part."""
    if not is_oid(one.unique_id):
        raise Refusal("XDSRepositoryMetadataError", "sim: XDSDocumentEntry.uniqueId n'est pas un OID")
    if one.patient_id != caller.patient:
        raise Refusal("XDSPatientIdDoesNotMatch", "sim: document et VIHF")
    missing = [name for name in _REQUIRED_SLOTS if not one.slots.get(name)]
    missing += [name for scheme, name in _REQUIRED_CODES.items() if not one.codes.get(scheme)]
    if missing:
        raise Refusal("XDSRepositoryMetadataError", f"sim: {', '.join(missing)}")
    content = parts.get(one.object_id)
    if not content:
        raise Refusal("XDSMissingDocument", f"sim: {one.object_id}")
    size = next(iter(one.slots.get("size", ())), "")
    if size and size != str(len(content)):
        raise Refusal("XDSNonIdenticalSize", f"sim: {one.object_id}")
    told = next(iter(one.slots.get("hash", ())), "")
    if told and told.lower() != hashlib.sha1(content, usedforsecurity=False).hexdigest():
        raise Refusal("XDSNonIdenticalHash", f"sim: {one.object_id}")
