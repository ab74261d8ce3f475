"""ebRIM objects as the simulated registry reads and gives them back.

Purpose: an ExtrinsicObject or a RegistryPackage of a request becomes data to check; what is kept becomes the LeafClass
of an answer (identifiers of the registry, status, VersionInfo, repositoryUniqueId, hash and size).
Guarantee: attributes are found by scheme, never by `registryObject` or `classifiedObject` (official samples get those
wrong); an answer has the element order and the required attributes of rim.xsd. Pure.
Fails: never; what is absent is empty.
Source: spec/dmp.md §3.1, §3.2, §5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from lxml import etree

from connectors.xds import ebrim

RIM: Final = f"{{{ebrim.RIM}}}"
REPOSITORY_OID: Final = "1.2.250.1.213.4.1.1.1.2"
"""repositoryUniqueId of the DMP (§4.2)."""
STATUS: Final = {
    "Approved": ebrim.APPROVED,
    "Deprecated": ebrim.DEPRECATED,
    "Archived": ebrim.ARCHIVED,
    "Deleted": ebrim.DELETED,
}
_SIGNATURE_TYPE = "E1762"
_ORDER = ("Slot", "Name", "Description", "VersionInfo", "Classification", "ExternalIdentifier")
_STRUCTURE_COMPONENT = 9


@dataclass(frozen=True, slots=True)
class Coded:
    """One code: value, codingScheme."""

    code: str
    scheme: str


@dataclass(frozen=True, slots=True)
class Described:
    """One ExtrinsicObject as read."""

    object_id: str
    lid: str
    unique_id: str
    patient_id: str
    mime_type: str
    object_type: str
    status: str
    title: str
    slots: Mapping[str, tuple[str, ...]]
    coded: Mapping[str, tuple[Coded, ...]]
    """By classification scheme; for an author: empty codes, one for each author."""
    structures: frozenset[str]
    """Identifiers of the authors' organisations."""
    persons: tuple[str, ...]
    """authorPerson of every author (XCN)."""
    signature: bool

    def codes(self, scheme: str) -> tuple[str, ...]:
        """The values of one classification scheme."""
        return tuple(c.code for c in self.coded.get(scheme, ()))

    def slot(self, name: str) -> str:
        """First value of a slot, "" without one."""
        return next(iter(self.slots.get(name, ())), "")


@dataclass(frozen=True, slots=True)
class Lot:
    """One RegistryPackage as read."""

    object_id: str
    unique_id: str
    source_id: str
    patient_id: str
    submission_time: str
    content_type: tuple[Coded, ...]
    persons: tuple[str, ...]
    structures: frozenset[str]


def slots(element: etree._Element) -> dict[str, tuple[str, ...]]:
    """Values by slot name."""
    return {
        s.get("name") or "": tuple((v.text or "").strip() for v in s.iterfind(f"{RIM}ValueList/{RIM}Value"))
        for s in element.findall(f"{RIM}Slot")
    }


def external(element: etree._Element, scheme: str) -> str:
    """Value of an ExternalIdentifier, by scheme."""
    for found in element.findall(f"{RIM}ExternalIdentifier"):
        if found.get("identificationScheme") == scheme:
            return found.get("value") or ""
    return ""


def title_of(element: etree._Element) -> str:
    """`rim:Name`."""
    found = element.find(f"{RIM}Name/{RIM}LocalizedString")
    return (found.get("value") or "") if found is not None else ""


def structure_in(institution: str) -> str:
    """Struct_IdNat of an XON value."""
    parts = institution.split("^")
    return parts[_STRUCTURE_COMPONENT] if len(parts) > _STRUCTURE_COMPONENT else ""


def _authors(element: etree._Element, scheme: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Structures and persons of the author classifications."""
    structures: set[str] = set()
    persons: list[str] = []
    for found in element.findall(f"{RIM}Classification"):
        if found.get("classificationScheme") == scheme:
            values = slots(found)
            structures.update(structure_in(v) for v in values.get("authorInstitution", ()))
            persons.extend(values.get("authorPerson", ()))
    return frozenset(s for s in structures if s), tuple(persons)


def _coded(element: etree._Element) -> dict[str, tuple[Coded, ...]]:
    made: dict[str, tuple[Coded, ...]] = {}
    for found in element.findall(f"{RIM}Classification"):
        scheme = found.get("classificationScheme") or ""
        system = next(iter(slots(found).get("codingScheme", ())), "")
        made[scheme] = (*made.get(scheme, ()), Coded(found.get("nodeRepresentation") or "", system))
    return made


def describe(element: etree._Element) -> Described:
    """Read one ExtrinsicObject."""
    coded = _coded(element)
    structures, persons = _authors(element, ebrim.DOC_AUTHOR)
    return Described(
        object_id=element.get("id") or "",
        lid=element.get("lid") or "",
        unique_id=external(element, ebrim.DOC_UNIQUE_ID),
        patient_id=external(element, ebrim.DOC_PATIENT_ID),
        mime_type=element.get("mimeType") or "",
        object_type=element.get("objectType") or "",
        status=element.get("status") or "",
        title=title_of(element),
        slots=slots(element),
        coded=coded,
        structures=structures,
        persons=persons,
        signature=any(c.code == _SIGNATURE_TYPE for c in coded.get(ebrim.DOC_TYPE, ())),
    )


def describe_lot(element: etree._Element) -> Lot:
    """Read one RegistryPackage."""
    structures, persons = _authors(element, ebrim.SET_AUTHOR)
    return Lot(
        object_id=element.get("id") or "",
        unique_id=external(element, ebrim.SET_UNIQUE_ID),
        source_id=external(element, ebrim.SET_SOURCE_ID),
        patient_id=external(element, ebrim.SET_PATIENT_ID),
        submission_time=next(iter(slots(element).get("submissionTime", ())), ""),
        content_type=_coded(element).get(ebrim.SET_CONTENT_TYPE, ()),
        persons=persons,
        structures=structures,
    )


# --- answers ----------------------------------------------------------------------------------------------------


def make_slot(name: str, values: Iterable[str]) -> etree._Element:
    """A `rim:Slot`."""
    made = etree.Element(f"{RIM}Slot", name=name)
    listed = etree.SubElement(made, f"{RIM}ValueList")
    for value in values:
        etree.SubElement(listed, f"{RIM}Value").text = value
    return made


def _registered(
    element: etree._Element, entry_uuid: str, lid: str, status: str, version: int
) -> etree._Element:
    """A copy with the registry's own identifiers, status and version, children in the order of rim.xsd."""
    made = deepcopy(element)
    made.set("id", entry_uuid)
    made.set("lid", lid)
    made.set("status", STATUS[status])
    for old in made.findall(f"{RIM}VersionInfo"):
        made.remove(old)
    etree.SubElement(made, f"{RIM}VersionInfo", versionName=str(version))
    for part in made.findall(f"{RIM}Classification"):
        part.set("classifiedObject", entry_uuid)
        part.set("id", uuid4().urn)
    for part in made.findall(f"{RIM}ExternalIdentifier"):
        part.set("registryObject", entry_uuid)
        part.set("id", uuid4().urn)
    # what stands outside the known names (comments, foreign extensions) is not given back
    kept = [c for name in _ORDER for c in made.findall(f"{RIM}{name}")]
    made[:] = kept
    made.text = None
    for child in kept:
        child.tail = None
    made.tail = None
    return made


def leaf(
    element: etree._Element, entry_uuid: str, lid: str, status: str, version: int, *, size: int, sha1: str
) -> etree._Element:
    """The ExtrinsicObject of a LeafClass answer."""
    made = _registered(element, entry_uuid, lid, status, version)
    made.set("isOpaque", "false")
    computed = {"hash": sha1, "size": str(size), "repositoryUniqueId": REPOSITORY_OID}
    for old in made.findall(f"{RIM}Slot"):
        if old.get("name") in computed:
            made.remove(old)
    for name, value in computed.items():
        made.insert(0, make_slot(name, (value,)))
    return made


def package(element: etree._Element, entry_uuid: str) -> etree._Element:
    """The RegistryPackage of a LeafClass answer."""
    made = _registered(element, entry_uuid, entry_uuid, "Approved", 1)
    if not any(c.get("classificationNode") for c in made.findall(f"{RIM}Classification")):
        # the request may class its package beside it (IHE) or inside (CNAM): it is given inside
        node = etree.Element(
            f"{RIM}Classification",
            id=uuid4().urn,
            classificationNode=ebrim.SUBMISSION_SET_NODE,
            classifiedObject=entry_uuid,
        )
        first = made.find(f"{RIM}ExternalIdentifier")
        made.insert(made.index(first) if first is not None else len(made), node)
    return made


def association(
    uuid: str, kind: str, source: str, target: str, values: Mapping[str, tuple[str, ...]]
) -> etree._Element:
    """The Association of a LeafClass answer."""
    made = etree.Element(
        f"{RIM}Association",
        id=uuid,
        lid=uuid,
        status=ebrim.APPROVED,
        objectType="urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:Association",
        associationType=kind,
        sourceObject=source,
        targetObject=target,
    )
    for name, given in values.items():
        made.append(make_slot(name, given))
    return made
