"""The compact header rules of a CDA (H02–H29, I00, I02, B01, B02): what must be there, whatever the volet.

Purpose: the always-on layer of the validation, without any ANS file. Source: spec/cda.md §4 (each rule id is
the row of that table), severities from §6 and from what the official examples carry ("What the examples
say").

Guarantee: pure; looks at the header only, except the presence of title, code and text in the sections of the
first three levels (B02). All faults are reported together, each rule at most once per document, at the OBX-5
that carried it.

A deletion is checked for identity only (H08, H16, I00): a document that breaks a formal rule was published
all the same, and must remain deletable.

Fails: never; everything is a finding.
"""

from __future__ import annotations

import re
from datetime import datetime

from lxml import etree

from gateway.cda.document import CdaHeader
from gateway.cda.header import attribute, child, childs, text
from gateway.cda.reader import V3
from gateway.errors import Place
from gateway.hl7.transmission import INS_DEMO, INS_OIDS, INS_TEST, Action, InstanceId
from gateway.rules import Findings

LOINC = "2.16.840.1.113883.6.1"
TRE_A05 = "1.2.250.1.213.1.1.4.12"
STRUCTURES = "1.2.250.1.71.4.2.2"
PATIENT_DOCUMENTS = "1.2.250.1.213.4.1"
HL7_FRANCE = "2.16.840.1.113883.2.8.2.1"
CI_SIS = "1.2.250.1.213.1.1.1.1"
XDS_SD = "1.3.6.1.4.1.19376.1.2.20"
MEDIA_TYPES = frozenset({"application/pdf", "text/plain"})
OLD_MEDIA_TYPES = frozenset({"text/rtf", "application/rtf", "image/jpeg", "image/tiff"})

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+\Z")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_LANGUAGE = re.compile(r"[a-z]{2}-[A-Z]{2}\Z")
_TS = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\.\d+)?([+-]\d{1,4})?\Z", re.ASCII)
_MATRICULE = re.compile(r"(\d{5}(?:\d\d|2A|2B)\d{6})(\d\d)\Z", re.ASCII)
_NS = {"v3": V3}
_BAD_TELECOM = etree.XPath(
    "boolean(v3:*[not(self::v3:component)]//v3:telecom[boolean(@value) = boolean(@nullFlavor) or (@value and"
    " not(contains('|tel|fax|mailto|http|https|ftp|mllp|', concat('|', substring-before(@value, ':'), '|'))))])",
    namespaces=_NS,
)
_BAD_NULL = etree.XPath(
    "boolean(v3:*[not(self::v3:component)]/descendant-or-self::*[@nullFlavor]"
    "[not(contains('|UNK|NASK|ASKU|NAV|MSK|', concat('|', @nullFlavor, '|')))])",
    namespaces=_NS,
)
_BAD_SECTION = etree.XPath(
    "boolean((v3:component/v3:section | v3:component/v3:section/v3:component/v3:section"
    " | v3:component/v3:section/v3:component/v3:section/v3:component/v3:section)"
    "[not(v3:component/v3:section)][not(v3:title and v3:code and v3:text)])",
    namespaces=_NS,
)


def check_header(
    root: etree._Element,
    header: CdaHeader,
    findings: Findings,
    place: Place,
    *,
    action: Action,
    dmp: bool,
    processing: str | None = None,
) -> None:
    """Add to `findings` all that is wrong with the ClinicalDocument `root`, of which `header` was read.

    `dmp`: the DMP is a destination (INS and ids without extension become compulsory). `processing`: MSH-11; None:
    the domain of the INS is not judged.
    """
    _identifiers(root, header, findings, place, dmp)
    _patient_identity(root, header, findings, place, dmp)
    _ins_domain(header, findings, place, processing)
    if action is Action.DELETE:
        return
    _general(root, header, findings, place)
    _patient_traits(root, header, findings, place)
    _people(root, header, findings, place)
    _acts(root, header, findings, place)
    _body(root, header, findings, place)
    if _BAD_TELECOM(root):
        findings.add("CDA-H27", place)
    if _BAD_NULL(root):
        findings.add("CDA-H29", place)


# --- values -------------------------------------------------------------------------------------------------


def valid_time(value: str, *, zone: bool = True) -> bool:
    """A TS of CDA: `YYYY[MM[DD[hh[mm[ss[.f]]]]]][+ZZzz]`, at a date that exists (the XSD accepts 20240231).

    `zone`: the offset must have its four digits, because the time becomes UTC in the metadata; elsewhere one
    to four are taken, as the XSD does (an official example has `+100`).
    """
    found = _TS.match(value)
    if found is None:
        return False
    year, month, day, hour, minute, second = (None if g is None else int(g) for g in found.groups()[:6])
    offset = found[8]
    if zone and offset is not None and (len(offset) != 5 or int(offset[1:3]) > 14 or int(offset[3:]) > 59):
        return False
    try:
        datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, min(second or 0, 59))
    except ValueError:
        return False
    return (second or 0) <= 60


def valid_id(identifier: InstanceId) -> bool:
    """The root is an OID or a UUID."""
    return bool(_OID.match(identifier.root) or _UUID.match(identifier.root))


def valid_ins(matricule: str) -> bool:
    """15 characters with the right key (97 − n mod 97; 2A and 2B of Corsica count as 19 and 18)."""
    found = _MATRICULE.match(matricule.upper())
    if found is None:
        return False
    number = int(found[1].replace("2A", "19").replace("2B", "18"))
    return 97 - number % 97 == int(found[2])


def _only(root: etree._Element, name: str) -> bool:
    """Exactly one child called `name`."""
    return sum(1 for _ in childs(root, name)) == 1


# --- identity: for every action -----------------------------------------------------------------------------


def _identifiers(
    root: etree._Element, header: CdaHeader, findings: Findings, place: Place, dmp: bool
) -> None:
    element = child(root, "id")
    if element is None or header.id is None or not _only(root, "id"):
        findings.add("CDA-H08", place)
        return
    if not valid_id(header.id) or element.get("extension") == "":
        findings.add("CDA-H08-FORM", place)
    replaced = header.replaced_id
    if header.id.extension or (replaced is not None and replaced.extension):
        findings.add("CDA-H08-EXTENSION-DMP" if dmp else "CDA-H08-EXTENSION", place)


def _patient_identity(
    root: etree._Element, header: CdaHeader, findings: Findings, place: Place, dmp: bool
) -> None:
    roles = [role for target in childs(root, "recordTarget") for role in childs(target, "patientRole")]
    if len(roles) != 1 or not _only(root, "recordTarget") or not _only(roles[0], "patient"):
        findings.add("CDA-H16", place)
        return
    if header.patient is None or header.patient.ins is None:
        findings.add("CDA-I00-DMP" if dmp else "CDA-I00", place)


def _ins_domain(header: CdaHeader, findings: Findings, place: Place, processing: str | None) -> None:
    """A real patient is never in the test or demonstration domain, whatever identity stands beside it."""
    if processing == "P" and any(
        i.root in (INS_TEST, INS_DEMO) for i in (header.patient.ids if header.patient else ())
    ):
        findings.add("CDA-I01-DOMAIN", place)


# --- conformity: for submissions and replacements -----------------------------------------------------------


def _general(root: etree._Element, header: CdaHeader, findings: Findings, place: Place) -> None:
    if [attribute(r, "code") for r in childs(root, "realmCode")] != ["FR"]:
        findings.add("CDA-H02", place)
    type_id = child(root, "typeId")
    if (attribute(type_id, "root"), attribute(type_id, "extension")) != (
        "2.16.840.1.113883.1.3",
        "POCD_HD000040",
    ):
        findings.add("CDA-H03", place)
    templates = [t.root for t in header.template_ids]
    if templates.count(HL7_FRANCE) != 1:
        findings.add("CDA-H04", place)
    if templates.count(CI_SIS) != 1:
        findings.add("CDA-H05", place)
    if not set(templates) - {HL7_FRANCE, CI_SIS}:
        findings.add("CDA-H06", place)
    if header.body.kind == "nonXML":
        if XDS_SD not in templates:
            findings.add("CDA-H07", place)
        elif len(templates) != 3:
            findings.add("CDA-H07-COUNT", place)
    kind = header.code
    if kind is None or not kind.label or not _only(root, "code"):
        findings.add("CDA-H09", place)
    elif kind.system not in (LOINC, TRE_A05):
        findings.add("CDA-H09-SYSTEM", place)
    if not header.title or not _only(root, "title"):
        findings.add("CDA-H10", place)
    if not valid_time(header.effective_time):
        findings.add("CDA-H11", place)
    secret = header.confidentiality
    if secret is None or secret.code not in ("N", "R", "V") or secret.system != "2.16.840.1.113883.5.25":
        findings.add("CDA-H12", place)
    if not _LANGUAGE.match(header.language):
        findings.add("CDA-H13", place)
    set_id = child(root, "setId")
    if header.set_id is None or not _only(root, "setId"):
        findings.add("CDA-H14", place)
    elif set_id is not None and set_id.get("extension") == "":
        findings.add("CDA-H14-FORM", place)
    if header.version is None:
        findings.add("CDA-H15", place)
    elif header.version < 1:
        findings.add("CDA-H15-POSITIVE", place)


def _patient_traits(root: etree._Element, header: CdaHeader, findings: Findings, place: Place) -> None:
    role = child(root, "recordTarget", "patientRole")
    patient = child(role, "patient")
    if role is None or patient is None or header.patient is None:
        return  # H16 has spoken
    if any(not attribute(i, "root") or not attribute(i, "extension") for i in childs(role, "id")):
        findings.add("CDA-H16-IDS", place)
    name = child(patient, "name")
    families, givens = list(childs(name, "family")), list(childs(name, "given"))
    if not _only(patient, "name") or not any(map(text, families)) or not any(map(text, givens)):
        findings.add("CDA-H17", place)
    qualifiers = {attribute(f, "qualifier") for f in families}
    given_qualifiers = {attribute(g, "qualifier") for g in givens} - {""}
    if (qualifiers | given_qualifiers) - {"BR", "CL", "SP"}:
        findings.add("CDA-H17-QUALIFIER", place)
    if "SP" in qualifiers | given_qualifiers:
        findings.add("CDA-H17-SP", place)
    if not header.patient.gender or not valid_time(header.patient.birth_time):
        findings.add("CDA-H18", place)
    if any(
        child(patient, forbidden) is not None
        for forbidden in ("religiousAffiliationCode", "raceCode", "ethnicGroupCode")
    ):
        findings.add("CDA-H19", place)
    ins = header.patient.ins
    if ins is None:
        return
    if not valid_ins(ins.extension or ""):
        findings.add("CDA-I01-KEY", place)
    missing = [
        label
        for label, present in (
            ("nom de naissance", "BR" in {attribute(f, "qualifier") for f in families if text(f)}),
            ("premier prénom de naissance", "BR" in {attribute(g, "qualifier") for g in givens if text(g)}),
            ("prénoms de naissance", "" in {attribute(g, "qualifier") for g in givens if text(g)}),
            ("date de naissance", bool(header.patient.birth_time)),
            ("lieu de naissance (code officiel géographique)", bool(header.patient.birthplace_code)),
            ("sexe", bool(header.patient.gender)),
        )
        if not present
    ]
    if missing:
        findings.add("CDA-I02", place, missing=", ".join(missing))


def _people(root: etree._Element, header: CdaHeader, findings: Findings, place: Place) -> None:
    if not header.authors:
        findings.add("CDA-H20", place)
    for author, element in zip(header.authors, childs(root, "author"), strict=True):
        assigned = child(element, "assignedAuthor")
        human = child(assigned, "assignedPerson") is not None
        device = child(assigned, "assignedAuthoringDevice") is not None
        if not author.ids or not valid_time(author.time, zone=False) or human == device:
            _once(findings, "CDA-H20-AUTHOR", place)
        if author.code is None or not author.code.label or not author.code.system:
            _once(findings, "CDA-H20-CODE", place)
        # a patient's own document has no organisation: its author is the INS itself
        own = any(i.root in INS_OIDS for i in author.ids)
        known = author.organisation is not None and any(i.root == STRUCTURES for i in author.organisation.ids)
        if not own and not known:
            _once(findings, "CDA-H20-ORGANISATION", place)
    owner = header.custodian
    if owner is None or not any(i.root in (STRUCTURES, PATIENT_DOCUMENTS) and i.extension for i in owner.ids):
        findings.add("CDA-H21", place)
    signer = header.legal_authenticator
    if signer is None or not _only(root, "legalAuthenticator"):
        findings.add("CDA-H22", place)
    elif (
        attribute(child(root, "legalAuthenticator", "signatureCode"), "code") != "S"
        or not valid_time(signer.time, zone=False)
        or not any(i.extension for i in signer.ids)
        or signer.person is None
        or not signer.person.family
    ):
        findings.add("CDA-H22-CONTENT", place)


def _acts(root: etree._Element, header: CdaHeader, findings: Findings, place: Place) -> None:
    act = header.principal_event
    if act is None:
        findings.add("CDA-H23", place)
    else:
        if not valid_time(act.low):
            findings.add("CDA-H23-LOW", place)
        if act.performer_organisation is None or act.performer_organisation.industry is None:
            findings.add("CDA-H23-PRACTICE", place)
    if len(header.related) > 1 or any(r.parent_id is None for r in header.related):
        findings.add("CDA-H24", place)
    elif header.related and header.related[0].type_code != "RPLC":
        findings.add("CDA-H24-TYPE", place)
    if header.facility is None or not _only(root, "componentOf"):
        findings.add("CDA-H25", place)
    if any(
        (child(i, "assignedEntity") is None) == (child(i, "relatedEntity") is None)
        for i in childs(root, "informant")
    ) or any(child(p, "associatedEntity") is None for p in childs(root, "participant")):
        findings.add("CDA-H28", place)


def _body(root: etree._Element, header: CdaHeader, findings: Findings, place: Place) -> None:
    component = child(root, "component")
    structured = child(component, "structuredBody")
    if (
        component is None
        or not _only(root, "component")
        or (child(component, "nonXMLBody") is None) == (structured is None)
    ):
        findings.add("CDA-H26", place)
        return
    if structured is not None:
        if child(structured, "component", "section") is None:
            findings.add("CDA-B00", place)
        elif _BAD_SECTION(structured):
            findings.add("CDA-B02", place)
        return
    body = header.body
    payload = child(component, "nonXMLBody", "text")
    # only a short text can be nothing but blanks: a real payload is never copied for this
    if attribute(payload, "nullFlavor") or (body.text_length < 1_000 and not text(payload)):
        findings.add("CDA-B00", place)
        return
    if body.representation != "B64":
        findings.add("CDA-B01-B64", place)
    if body.media_type in OLD_MEDIA_TYPES:
        findings.add("CDA-B01-OLD", place)
    elif body.media_type not in MEDIA_TYPES:
        findings.add("CDA-B01-MEDIA", place)


def _once(findings: Findings, rule: str, place: Place) -> None:
    """Several authors with the same fault are one finding."""
    if not any(f.rule == rule and f.place == place for f in findings):
        findings.add(rule, place)
