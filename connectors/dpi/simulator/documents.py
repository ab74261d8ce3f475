"""What the simulated DPI reads of a CDA: identity, versions, authors. Pure.

Purpose: a reader of its own, short and independent of the gateway's: a fault of the gateway's reader must not be
hidden by the same fault here.
Fails: `UnreadableCda` for what is no ClinicalDocument.
Source: CI-SIS volet Structuration minimale; spec/mssante.md §2.3, §2.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lxml import etree

from gateway.safexml import safe_parser

_NS = "{urn:hl7-org:v3}"
INS_ROOTS = frozenset(
    {
        "1.2.250.1.213.1.4.8",
        "1.2.250.1.213.1.4.9",
        "1.2.250.1.213.1.4.10",
        "1.2.250.1.213.1.4.11",
    }
)
"""NIR, NIA, and the two test domains of the INS."""


class UnreadableCda(Exception):
    """The bytes are no CDA R2 document."""


@dataclass(frozen=True, slots=True)
class Traits:
    """The strict traits of the INS. "" for what is absent."""

    family: str = field(default="", repr=False)
    given: str = field(default="", repr=False)
    birth: str = field(default="", repr=False)
    sex: str = ""

    @property
    def complete(self) -> bool:
        """All four are there."""
        return bool(self.family and self.given and self.birth and self.sex)


@dataclass(frozen=True, slots=True)
class Cda:
    """One document. Identifiers are `root` or `root^extension`."""

    uid: str
    set_id: str
    version: int | None
    replaces: str
    type_code: str
    patient_ids: frozenset[str] = field(repr=False)
    traits: Traits = field(repr=False)
    authors: frozenset[str]
    organisations: frozenset[str]
    """Of the authors."""

    @property
    def ins(self) -> str:
        """The national identity, "" without one."""
        return next((i for i in sorted(self.patient_ids) if i.partition("^")[0] in INS_ROOTS), "")


def read_cda(content: bytes) -> Cda:
    """Read a document, self-presenting ones too. Raises `UnreadableCda`."""
    try:
        root = etree.fromstring(content, safe_parser(len(content)))
    except (etree.XMLSyntaxError, ValueError):
        raise UnreadableCda("not XML") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise UnreadableCda("DOCTYPE")
    if root.tag != f"{_NS}ClinicalDocument":
        inner = root.find(f".//{_NS}ClinicalDocument")
        if inner is None:
            raise UnreadableCda("no ClinicalDocument")
        root = inner
    role = root.find(f"{_NS}recordTarget/{_NS}patientRole")
    parents = [
        _id(parent)
        for related in root.findall(f"{_NS}relatedDocument")
        if related.get("typeCode") == "RPLC"
        and (parent := related.find(f"{_NS}parentDocument/{_NS}id")) is not None
    ]
    authors = root.findall(f"{_NS}author/{_NS}assignedAuthor")
    code, version = root.find(f"{_NS}code"), root.find(f"{_NS}versionNumber")
    number = version.get("value", "") if version is not None else ""
    return Cda(
        uid=_first(root, "id"),
        set_id=_first(root, "setId"),
        version=int(number) if number.isdecimal() else None,
        replaces=parents[0] if parents else "",
        type_code=code.get("code", "") if code is not None else "",
        patient_ids=frozenset(_ids(role)) if role is not None else frozenset(),
        traits=_traits(role),
        authors=frozenset(i for author in authors for i in _ids(author)),
        organisations=frozenset(
            i
            for author in authors
            for organisation in author.findall(f"{_NS}representedOrganization")
            for i in _ids(organisation)
        ),
    )


def _id(element: etree._Element) -> str:
    root, extension = element.get("root", ""), element.get("extension", "")
    return f"{root}^{extension}" if extension else root


def _first(element: etree._Element, name: str) -> str:
    found = element.find(f"{_NS}{name}")
    return _id(found) if found is not None else ""


def _ids(element: etree._Element) -> list[str]:
    return [_id(e) for e in element.findall(f"{_NS}id") if e.get("root")]


def _text(element: etree._Element | None) -> str:
    return " ".join("".join(element.itertext()).split()) if element is not None else ""  # type: ignore[arg-type] # texts


def _traits(role: etree._Element | None) -> Traits:
    patient = role.find(f"{_NS}patient") if role is not None else None
    if patient is None:
        return Traits()
    families = patient.findall(f"{_NS}name/{_NS}family")
    givens = patient.findall(f"{_NS}name/{_NS}given")
    birth, sex = patient.find(f"{_NS}birthTime"), patient.find(f"{_NS}administrativeGenderCode")
    return Traits(
        family=_text(next((f for f in families if f.get("qualifier") == "BR"), None)),
        given=_text(next((g for g in givens if g.get("qualifier") == "BR"), None)),
        birth=birth.get("value", "")[:8] if birth is not None else "",
        sex=sex.get("code", "") if sex is not None else "",
    )
