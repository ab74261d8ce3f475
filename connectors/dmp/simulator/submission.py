"""ITI-41: a lot of documents, checked then kept.

Purpose: steps 6 to 8 of §8.2 for TD2.1a and TD2.1b.
Guarantee: the first step that is wrong answers; the decision on uniqueId and replacement, and the keeping, are one
instant. What is kept is exactly the bytes received.
Fails: `Refusal` with IHE codes; `mark` was told the step.
Source: spec/dmp.md §3.7, §3.9, §4.1, §8.2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography import x509
from lxml import etree

from connectors.dmp.simulator import metadata, rim
from connectors.dmp.simulator.answers import Refusal
from connectors.dmp.simulator.checks import Caller, xades
from connectors.dmp.simulator.registry import NewDocument, Registry, StoredEntry
from connectors.dmp.simulator.rim import RIM
from connectors.dmp.simulator.schemas import Schemas
from connectors.xds import ebrim
from connectors.xds.oid import is_oid
from connectors.xds.tables import Tables

METADATA_ERROR = "XDSRepositoryMetadataError"
Mark = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the checks need besides the request."""

    strict: bool
    authority: x509.Certificate
    tables: Tables
    schemas: Schemas


@dataclass(frozen=True, slots=True)
class Objects:
    """The registry objects of a request, as read."""

    request: etree._Element
    package: etree._Element
    lot: rim.Lot
    elements: tuple[etree._Element, ...]
    described: tuple[rim.Described, ...]
    associations: tuple[tuple[str, str, str, Mapping[str, tuple[str, ...]]], ...]
    """kind, source, target, slots."""

    def of(self, kind: str) -> list[tuple[str, str]]:
        """(source, target) of one kind of association."""
        return [(source, target) for k, source, target, _ in self.associations if k == kind]


def read(envelope: etree._Element, code: str) -> Objects:
    """The objects of a SubmitObjectsRequest. Raises `Refusal` with `code` when there is no lot."""
    request = envelope.find(f".//{{{ebrim.LCM}}}SubmitObjectsRequest")
    listed = request.find(f"{RIM}RegistryObjectList") if request is not None else None
    packages = listed.findall(f"{RIM}RegistryPackage") if listed is not None else []
    if request is None or listed is None or len(packages) != 1:
        raise Refusal(code, "sim: un SubmitObjectsRequest avec un RegistryPackage attendu")
    elements = tuple(listed.findall(f"{RIM}ExtrinsicObject"))
    return Objects(
        request=request,
        package=packages[0],
        lot=rim.describe_lot(packages[0]),
        elements=elements,
        described=tuple(rim.describe(e) for e in elements),
        associations=tuple(
            (
                a.get("associationType") or "",
                a.get("sourceObject") or "",
                a.get("targetObject") or "",
                rim.slots(a),
            )
            for a in listed.findall(f"{RIM}Association")
        ),
    )


def patients(objects: Objects) -> list[str]:
    """Every patientId that the metadata name."""
    return [objects.lot.patient_id, *(d.patient_id for d in objects.described)]


def submit(
    registry: Registry,
    objects: Objects,
    take: Callable[[], Mapping[str, bytes]],
    caller: Caller,
    rules: Rules,
    mark: Mark,
) -> list[StoredEntry]:
    """Check and keep. `take`: gives bytes by Document/@id, or refuses."""
    mark("metadata")
    _check_metadata(objects, rules)
    mark("documents")
    parts = take()
    documents = [d for d in objects.described if not d.signature]
    (signature,) = (d for d in objects.described if d.signature)
    _check_parts(objects, parts)
    contents = {d.unique_id: parts[d.object_id] for d in documents}
    xades(parts[signature.object_id], contents, objects.lot.unique_id, rules.authority)
    for one in documents:
        _check_content(parts[one.object_id], rules)
    with registry.locked():
        _check_identifiers(registry, objects, parts)
        for one in documents:
            if rules.strict and caller.structure not in one.structures:  # EX_2.1-1140
                raise Refusal(METADATA_ERROR, "Aucun AuthorInstitution ne correspond à l'utilisateur du VIHF")
        mark("replacement")
        replaced = _check_replacements(registry, objects, caller)
        new = [
            NewDocument(d, e, parts[d.object_id], replaced.get(d.object_id, ""))
            for d, e in zip(objects.described, objects.elements, strict=True)
        ]
        return registry.keep(objects.lot, objects.package, new, objects.associations)


def _check_metadata(objects: Objects, rules: Rules) -> None:
    rules.schemas.check("lcm.xsd", objects.request, METADATA_ERROR)
    metadata.check_lot(objects.lot, METADATA_ERROR, rules.tables, strict=rules.strict)
    signatures = sum(d.signature for d in objects.described)
    if signatures != 1 or len(objects.described) < 2:
        raise Refusal(METADATA_ERROR, "sim: un document et une signature attendus")
    metadata.check_entries(objects.described, METADATA_ERROR, rules.tables, strict=rules.strict)
    members = {target for source, target in objects.of(ebrim.HAS_MEMBER) if source == objects.lot.object_id}
    missing = [d.object_id for d in objects.described if d.object_id not in members]
    if missing:
        raise Refusal(METADATA_ERROR, f"sim: association HasMember absente ({', '.join(missing)})")
    signed = {(d.object_id, objects.lot.object_id) for d in objects.described if d.signature}
    if rules.strict and not signed <= set(objects.of(ebrim.SIGNS)):
        raise Refusal(METADATA_ERROR, "sim: association signs absente")
    allowed = (ebrim.HAS_MEMBER, ebrim.SIGNS, ebrim.REPLACES)
    foreign = sorted({kind for kind, *_ in objects.associations} - set(allowed))
    if rules.strict and foreign:
        raise Refusal(METADATA_ERROR, f"sim: association {foreign[0]}")


def _check_parts(objects: Objects, parts: Mapping[str, bytes]) -> None:
    """Every entry has its document and every document its entry; size and hash when they are told."""
    for one in objects.described:
        if not parts.get(one.object_id):
            raise Refusal("XDSMissingDocument", f"sim: {one.object_id}")
    extra = sorted(set(parts) - {d.object_id for d in objects.described})
    if extra:
        raise Refusal("XDSMissingDocumentMetadata", f"sim: {extra[0]}")
    for one in objects.described:
        content = parts[one.object_id]
        if one.slot("size") and int(one.slot("size")) != len(content):
            raise Refusal("XDSNonIdenticalSize", f"sim: {one.object_id}")
        told = one.slot("hash").lower()
        if told and told != hashlib.sha1(content, usedforsecurity=False).hexdigest():
            raise Refusal("XDSNonIdenticalHash", f"sim: {one.object_id}")


_STYLESHEET = re.compile(rb"<\?xml-stylesheet[^>]*\bhref\s*=\s*[\"'](?!#)")
_PROLOG = 4096


def _check_content(content: bytes, rules: Rules) -> None:
    """A CDA with a stylesheet beside it is refused (MIN p. 139); one that carries its own is not."""
    if rules.strict and _STYLESHEET.search(content[:_PROLOG]):
        raise Refusal("InvalidDocumentContent", "sim: feuille de style séparée")


def _check_identifiers(registry: Registry, objects: Objects, parts: Mapping[str, bytes]) -> None:
    """uniqueId: an OID, once in the lot, new in the registry."""
    ids = [d.unique_id for d in objects.described]
    for one in objects.described:
        if not is_oid(one.unique_id):
            raise Refusal(METADATA_ERROR, f"sim: {one.object_id} XDSDocumentEntry.uniqueId n'est pas un OID")
    if len({*ids, objects.lot.unique_id}) != len(ids) + 1:
        raise Refusal("XDSRepositoryDuplicateUniqueIdInMessage", "sim: uniqueId en double")
    registry.new_set(objects.lot)
    for one in objects.described:
        known = registry.by_unique_id(one.unique_id)
        if known is not None:
            same = known.content == parts[one.object_id]
            code = "XDSDuplicateUniqueIdInRegistry" if same else "XDSNonIdenticalHash"
            raise Refusal(code, "sim: uniqueId déjà connu")


def _check_replacements(registry: Registry, objects: Objects, caller: Caller) -> dict[str, str]:
    """Symbolic id of each new version to the entryUUID that it replaces."""
    names = {d.object_id for d in objects.described if not d.signature}
    made: dict[str, str] = {}
    for source, target in objects.of(ebrim.REPLACES):
        entry = registry.by_uuid(target)
        if source not in names or entry is None or entry.signature or entry.status == "Deleted":
            raise Refusal("UnresolvedReferenceException", "sim: entryUUID inconnu")
        if entry.patient_id != caller.patient:
            raise Refusal("XDSPatientIdDoesNotMatch", "sim: document d'un autre patient")
        if entry.status != "Approved" or target in made.values():
            raise Refusal("XDSRegistryDeprecatedDocumentError", "sim: version déjà remplacée ou archivée")
        if source in made:
            raise Refusal(METADATA_ERROR, "sim: un document ne remplace qu'une version")
        made[source] = target
    return made
