"""The header of a CDA as data: one ClinicalDocument element in, one `CdaHeader` out.

Purpose: the only reader of the XML header; rules, coherence, XDS mapping and mails read `CdaHeader`.
Source: spec/cda.md §4 (what the elements are), spec/dmp.md §3.3 (what the metadata need), spec/mssante.md
§1.8 (section "Copie du document").

Guarantee: pure; walks the children of the header by hand and never the structured body, except one compiled
XPath on its top-level sections (about 0.3 ms whatever the size of the payload). Missing parts give None or
empty values, never a guess; attribute values lose the blanks around them.

Fails: never; `rules.py` says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from lxml import etree

from gateway.cda.document import (
    CdaAuthor,
    CdaBody,
    CdaHeader,
    CdaOrganisation,
    CdaPatient,
    CdaSigner,
    PersonName,
    RelatedDocument,
    ServiceEvent,
)
from gateway.cda.reader import V3
from gateway.hl7.transmission import Code, InstanceId

PS3_20 = "urn:dicom-org:ps3-20"
_NS = f"{{{V3}}}"
_PDF_COPY = etree.XPath(
    "boolean(v3:component/v3:section[v3:templateId/@root='1.2.250.1.213.1.1.2.243' or v3:code/@code='55108-5']"
    "//v3:observationMedia/v3:value[@mediaType='application/pdf'])",
    namespaces={"v3": V3},
)


def child(element: etree._Element | None, *names: str) -> etree._Element | None:
    """The first descendant along the path of v3 children `names`, or None."""
    for name in names:
        if element is None:
            return None
        element = element.find(_NS + name)
    return element


def childs(element: etree._Element | None, name: str) -> Iterator[etree._Element]:
    """The v3 children called `name`."""
    return iter(()) if element is None else element.iterchildren(_NS + name)


def attribute(element: etree._Element | None, name: str) -> str:
    """The attribute without blanks around it, or the empty string."""
    return "" if element is None else (element.get(name) or "").strip()


def text(element: etree._Element | None) -> str:
    """All the text below, blanks collapsed."""
    if element is None:
        return ""
    return " ".join("".join(cast("Iterator[str]", element.itertext())).split())


def instance_id(element: etree._Element | None) -> InstanceId | None:
    """An II with a root and without nullFlavor, or None."""
    root = attribute(element, "root")
    if not root or attribute(element, "nullFlavor"):
        return None
    return InstanceId(root, attribute(element, "extension") or None)


def instance_ids(element: etree._Element | None, name: str = "id") -> tuple[InstanceId, ...]:
    """Every usable II child called `name`."""
    return tuple(i for i in map(instance_id, childs(element, name)) if i is not None)


def code(element: etree._Element | None) -> Code | None:
    """A CD/CE with a code, or None."""
    value = attribute(element, "code")
    if not value:
        return None
    return Code(value, attribute(element, "displayName"), attribute(element, "codeSystem"))


def integer(element: etree._Element | None) -> int | None:
    """An INT's value, or None when it is not a plain (possibly negative) integer."""
    value = attribute(element, "value")
    digits = value.removeprefix("-")
    # isdecimal alone takes other scripts' digits; ten digits are more than any version
    return int(value) if digits.isascii() and digits.isdecimal() and len(digits) <= 10 else None


def person_name(element: etree._Element | None) -> PersonName | None:
    """The first `name` below an assignedPerson."""
    name = child(element, "name")
    if name is None:
        return None
    return PersonName(text(child(name, "family")), text(child(name, "given")), text(child(name, "prefix")))


def organisation(element: etree._Element | None) -> CdaOrganisation | None:
    """A representedOrganization or custodian organisation."""
    if element is None:
        return None
    return CdaOrganisation(
        instance_ids(element), text(child(element, "name")), code(child(element, "standardIndustryClassCode"))
    )


def _qualified(parts: Sequence[etree._Element], *qualifiers: str) -> str:
    """The text of the first part whose qualifier is among `qualifiers` (in that order)."""
    for wanted in qualifiers:
        for part in parts:
            if attribute(part, "qualifier") == wanted:
                return text(part)
    return ""


def _patient(role: etree._Element | None) -> CdaPatient | None:
    if role is None:
        return None
    patient = child(role, "patient")
    name = child(patient, "name")
    families, givens = list(childs(name, "family")), list(childs(name, "given"))
    return CdaPatient(
        ids=instance_ids(role),
        birth_family=_qualified(families, "BR", ""),
        birth_given=_qualified(givens, "BR") or (text(givens[0]) if givens else ""),
        given_all=" ".join(text(g) for g in givens if not attribute(g, "qualifier")),
        used_family=_qualified(families, "CL", "SP"),
        used_given=_qualified(givens, "CL", "SP"),
        birth_time=attribute(child(patient, "birthTime"), "value"),
        gender=attribute(child(patient, "administrativeGenderCode"), "code"),
        birthplace_code=text(child(patient, "birthplace", "place", "addr", "county")),
    )


def _author(element: etree._Element) -> CdaAuthor:
    assigned = child(element, "assignedAuthor")
    device = child(assigned, "assignedAuthoringDevice")
    return CdaAuthor(
        ids=instance_ids(assigned),
        time=attribute(child(element, "time"), "value"),
        code=code(child(assigned, "code")),
        function=code(child(element, "functionCode")),
        person=person_name(child(assigned, "assignedPerson")),
        device_name=text(child(device, "softwareName")),
        device_model=text(child(device, "manufacturerModelName")),
        organisation=organisation(child(assigned, "representedOrganization")),
    )


def _signer(element: etree._Element | None) -> CdaSigner | None:
    if element is None:
        return None
    entity = child(element, "assignedEntity")
    return CdaSigner(
        ids=instance_ids(entity),
        time=attribute(child(element, "time"), "value"),
        person=person_name(child(entity, "assignedPerson")),
        organisation=organisation(child(entity, "representedOrganization")),
    )


def _event(event: etree._Element) -> ServiceEvent:
    when = child(event, "effectiveTime")
    performer = child(event, "performer")
    coded = child(event, "code")
    return ServiceEvent(
        code=code(coded),
        translations=tuple(t for t in map(code, childs(coded, "translation")) if t and t.code),
        low=attribute(child(when, "low"), "value") or attribute(when, "value"),
        high=attribute(child(when, "high"), "value"),
        has_performer=performer is not None,
        performer_organisation=organisation(child(performer, "assignedEntity", "representedOrganization")),
    )


def _related(element: etree._Element) -> RelatedDocument:
    parent = child(element, "parentDocument")
    return RelatedDocument(
        attribute(element, "typeCode"),
        instance_id(child(parent, "id")),
        instance_id(child(parent, "setId")),
        integer(child(parent, "versionNumber")),
    )


def _body(component: etree._Element | None) -> CdaBody:
    payload = child(component, "nonXMLBody", "text")
    if child(component, "nonXMLBody") is not None:
        # counted by XPath, which lets other threads run and copies nothing into Python (67 MB: 35 ms of everybody);
        # an evaluator of its own: a shared one would be locked meanwhile
        length = 0 if payload is None else int(cast(float, payload.xpath("string-length(.)")))
        return CdaBody(
            "nonXML",
            attribute(payload, "mediaType"),
            attribute(payload, "representation"),
            text_length=length,
        )
    structured = child(component, "structuredBody")
    if structured is None:
        return CdaBody("none")
    return CdaBody("structured", has_pdf_copy=bool(_PDF_COPY(structured)))


def read_header(
    root: etree._Element, *, self_presenting: bool = False, has_stylesheet_pi: bool = False
) -> CdaHeader:
    """The header of the ClinicalDocument `root` (as `reader.read` gives it, with its two facts about the
    wrapping).
    """
    orders = [order for filled in childs(root, "inFulfillmentOf") for order in childs(filled, "order")]
    accessions = (
        instance_id(number)
        for order in orders
        for number in order.iterchildren(f"{{{PS3_20}}}accessionNumber")
    )
    return CdaHeader(
        id=instance_id(child(root, "id")),
        set_id=instance_id(child(root, "setId")),
        version=integer(child(root, "versionNumber")),
        code=code(child(root, "code")),
        title=text(child(root, "title")),
        effective_time=attribute(child(root, "effectiveTime"), "value"),
        confidentiality=code(child(root, "confidentialityCode")),
        language=attribute(child(root, "languageCode"), "code"),
        template_ids=instance_ids(root, "templateId"),
        patient=_patient(child(root, "recordTarget", "patientRole")),
        authors=tuple(_author(a) for a in childs(root, "author")),
        custodian=organisation(
            child(root, "custodian", "assignedCustodian", "representedCustodianOrganization")
        ),
        legal_authenticator=_signer(child(root, "legalAuthenticator")),
        related=tuple(_related(r) for r in childs(root, "relatedDocument")),
        events=tuple(_event(e) for d in childs(root, "documentationOf") for e in childs(d, "serviceEvent")),
        facility=code(
            child(root, "componentOf", "encompassingEncounter", "location", "healthCareFacility", "code")
        ),
        order_ids=tuple(i for order in orders for i in instance_ids(order)),
        accession_ids=tuple(i for i in accessions if i is not None),
        body=_body(child(root, "component")),
        self_presenting=self_presenting,
        has_stylesheet_pi=has_stylesheet_pi,
    )
