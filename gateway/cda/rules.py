"""The compact rules of a CDA: what must be there, whatever the volet (H02–H29, I00–I02, B00–B13).

Purpose: the always-on layer of the validation, without any ANS file. Source: spec/cda.md §4 (each rule id is
the row of that table), severities from §6 and from what the official examples carry ("What the examples
say"); decision 0013 for the value sets and the body. People and acts are in `participants`, the body in `body`.

Guarantee: pure; all faults are reported together, each rule at most once per document, at the OBX-5 that carried
it, with the element's path inside the document.

A deletion is checked for identity only (H08, H16, I00, the INS domain): a document that breaks a formal rule was
published all the same, and must remain deletable.

Fails: never; everything is a finding.
"""

from __future__ import annotations

import re
from typing import cast

from lxml import etree

from gateway.cda.body import check_body
from gateway.cda.document import CdaHeader
from gateway.cda.faults import Faults
from gateway.cda.header import attribute, child, childs, text
from gateway.cda.participants import check_acts, check_people
from gateway.cda.reader import V3
from gateway.cda.values import valid_id, valid_ins, valid_time
from gateway.cda.valuesets import ValueSets, load_value_sets
from gateway.errors import Place
from gateway.hl7.transmission import INS_DEMO, INS_OIDS, INS_TEST, Action
from gateway.rules import Findings

LOINC = "2.16.840.1.113883.6.1"
TRE_A05 = "1.2.250.1.213.1.1.4.12"
HL7_FRANCE = "2.16.840.1.113883.2.8.2.1"
CI_SIS = "1.2.250.1.213.1.1.1.1"
XDS_SD = "1.3.6.1.4.1.19376.1.2.20"
CONFIDENTIALITY = "2.16.840.1.113883.5.25"

_LANGUAGE = re.compile(r"[a-z]{2}-[A-Z]{2}\Z")
_HEADER_PARTS, _COMPONENT = f"{{{V3}}}*", f"{{{V3}}}component"
_TELECOM, _ADDRESS = f"{{{V3}}}telecom", f"{{{V3}}}addr"
_SCHEMES = frozenset({"tel", "fax", "mailto", "http", "https", "ftp", "mllp"})
_TELECOM_USES = frozenset({"H", "HP", "HV", "WP", "DIR", "PUB", "EC", "MC", "PG"})
_ADDRESS_USES = frozenset({"H", "HP", "HV", "WP", "TMP"})
_MAX_LINES = 7
# one step only: `v3:*//v3:telecom` takes libxml2 a minute for 190,000 siblings
_BAD_NULL = etree.XPath(
    "(v3:*[not(self::v3:component)]/descendant-or-self::*[@nullFlavor]"
    "[not(contains('|UNK|NASK|ASKU|NAV|MSK|', concat('|', @nullFlavor, '|')))])[1]",
    namespaces={"v3": V3},
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
    sets: ValueSets | None = None,
) -> None:
    """Add to `findings` all that is wrong with the ClinicalDocument `root`, of which `header` was read.

    `dmp`: the DMP is a destination (INS, ids without extension and JDV_J66 become compulsory). `processing`: MSH-11;
    None: the domain of the INS is not judged. `sets`: the value sets in force; None: the shipped ones.
    """
    faults = Faults(findings, place, root)
    _identifiers(root, header, faults, dmp)
    _patient_identity(root, header, faults, dmp, processing)
    if action is Action.DELETE:
        return
    sets = sets or load_value_sets()
    _general(root, header, faults)
    _type(root, header, faults, dmp, sets)
    _patient_traits(root, header, faults, sets)
    check_people(root, header, faults, sets)
    check_acts(root, header, faults, sets)
    check_body(root, faults)
    if dmp and header.has_stylesheet_pi:
        faults.add("CDA-H01-STYLE")
    _contacts(root, faults)
    for element in cast("list[etree._Element]", _BAD_NULL(root)):
        faults.add("CDA-H29", element)


def _contacts(root: etree._Element, faults: Faults) -> None:
    """H27: every telecom and addr of the header."""
    for part in root.iterchildren(_HEADER_PARTS):
        if part.tag == _COMPONENT:
            continue
        for element in part.iter(_TELECOM, _ADDRESS):
            use = element.get("use")
            if element.tag == _TELECOM:
                value = element.get("value")
                scheme, _, rest = (value or "").partition(":")
                bad = (value is None) == (element.get("nullFlavor") is None)
                bad = bad or (value is not None and not (rest and scheme in _SCHEMES))
                if bad or (use is not None and use not in _TELECOM_USES):
                    faults.add("CDA-H27", element)
            elif (use is not None and use not in _ADDRESS_USES) or (
                sum(1 for _ in childs(element, "streetAddressLine")) > _MAX_LINES
            ):
                faults.add("CDA-H27-ADDRESS", element)


def _only(root: etree._Element, name: str) -> bool:
    """Exactly one child called `name` that is not null."""
    return sum(1 for e in childs(root, name) if not attribute(e, "nullFlavor")) == 1


# --- identity: for every action -----------------------------------------------------------------------------


def _identifiers(root: etree._Element, header: CdaHeader, faults: Faults, dmp: bool) -> None:
    element = child(root, "id")
    if element is None or header.id is None or sum(1 for _ in childs(root, "id")) != 1:
        faults.add("CDA-H08", element, "" if element is not None else "id")
        return
    if not valid_id(header.id) or element.get("extension") == "":
        faults.add("CDA-H08-FORM", element)
    replaced = header.replaced_id
    if header.id.extension or (replaced is not None and replaced.extension):
        at = element if header.id.extension else child(root, "relatedDocument")
        faults.add("CDA-H08-EXTENSION-DMP" if dmp else "CDA-H08-EXTENSION", at)


def _patient_identity(
    root: etree._Element, header: CdaHeader, faults: Faults, dmp: bool, processing: str | None
) -> None:
    targets = list(childs(root, "recordTarget"))
    roles = [role for target in targets for role in childs(target, "patientRole")]
    if len(roles) != 1 or len(targets) != 1 or sum(1 for _ in childs(roles[0], "patient")) != 1:
        faults.add("CDA-H16", targets[0] if targets else None, "" if targets else "recordTarget")
        return
    if header.patient is None or header.patient.ins is None:
        faults.add("CDA-I00-DMP" if dmp else "CDA-I00", roles[0], "id")
    elif processing == "P" and any(i.root in (INS_TEST, INS_DEMO) for i in header.patient.ids):
        # a real patient is never in these domains, whatever identity stands beside
        faults.add("CDA-I01-DOMAIN", roles[0], "id")


# --- conformity: for submissions and replacements -----------------------------------------------------------


def _general(root: etree._Element, header: CdaHeader, faults: Faults) -> None:
    if [attribute(r, "code") for r in childs(root, "realmCode")].count("FR") != 1:
        faults.add("CDA-H02", child(root, "realmCode"))
    type_id = child(root, "typeId")
    if (attribute(type_id, "root"), attribute(type_id, "extension")) != (
        "2.16.840.1.113883.1.3",
        "POCD_HD000040",
    ):
        faults.add("CDA-H03", type_id)
    templates = [t.root for t in header.template_ids]
    at = child(root, "templateId")
    if templates.count(HL7_FRANCE) != 1:
        faults.add("CDA-H04", at)
    if templates.count(CI_SIS) != 1:
        faults.add("CDA-H05", at)
    if not set(templates) - {HL7_FRANCE, CI_SIS}:
        faults.add("CDA-H06", at)
    if header.body.kind == "nonXML":
        if XDS_SD not in templates:
            faults.add("CDA-H07", at)
        elif len(templates) != 3:
            faults.add("CDA-H07-COUNT", at)
    if not header.title or not _only(root, "title"):
        faults.add("CDA-H10", child(root, "title"), "" if header.title else "title")
    when = child(root, "effectiveTime")
    if not valid_time(header.effective_time):
        faults.add("CDA-H11", when, "" if when is not None else "effectiveTime")
    secret = header.confidentiality
    if secret is None or secret.code not in ("N", "R", "V") or secret.system != CONFIDENTIALITY:
        faults.add("CDA-H12", child(root, "confidentialityCode"))
    elif not secret.label:
        faults.add("CDA-H12-LABEL", child(root, "confidentialityCode"))
    if not _LANGUAGE.match(header.language):
        faults.add("CDA-H13", child(root, "languageCode"))
    set_id = child(root, "setId")
    if header.set_id is None or not _only(root, "setId"):
        faults.add("CDA-H14", set_id, "" if set_id is not None else "setId")
    elif set_id is not None and set_id.get("extension") == "":
        faults.add("CDA-H14-FORM", set_id)
    number = child(root, "versionNumber")
    if header.version is None:
        faults.add("CDA-H15", number, "" if number is not None else "versionNumber")
    elif header.version < 1:
        faults.add("CDA-H15-POSITIVE", number)


def _type(root: etree._Element, header: CdaHeader, faults: Faults, dmp: bool, sets: ValueSets) -> None:
    kind, at = header.code, child(root, "code")
    if kind is None or not kind.label or not _only(root, "code"):
        faults.add("CDA-H09", at, "" if at is not None else "code")
        return
    if kind.system not in (LOINC, TRE_A05):
        faults.add("CDA-H09-SYSTEM", at)
    edition = sets.editions["type.tsv"]
    if kind.code not in sets.types and kind.code not in sets.types_dmp:
        faults.add("CDA-H09-J07", at, edition=edition)
    elif dmp and kind.code not in sets.types_dmp:
        faults.add("CDA-H09-J66", at, edition=sets.editions["type_dmp.tsv"])


def _patient_traits(root: etree._Element, header: CdaHeader, faults: Faults, sets: ValueSets) -> None:
    role = child(root, "recordTarget", "patientRole")
    patient = child(role, "patient")
    if role is None or patient is None or header.patient is None:
        return  # H16 has spoken
    own = [i for i in childs(role, "id") if not attribute(i, "nullFlavor")]
    for identifier in own:
        if not attribute(identifier, "root") or not attribute(identifier, "extension"):
            faults.add("CDA-H16-IDS", identifier)
    if not own:
        faults.add("CDA-H16-IDS", role, "id")
    name = child(patient, "name")
    families, givens = list(childs(name, "family")), list(childs(name, "given"))
    if not _only(patient, "name") or not any(map(text, families)) or not any(map(text, givens)):
        faults.add("CDA-H17", patient, "name")
    for part in (*families, *givens):
        qualifier = attribute(part, "qualifier")
        if qualifier == "SP":
            faults.add("CDA-H17-SP", part)
        elif qualifier not in ("BR", "CL") and (qualifier or part in families):
            faults.add("CDA-H17-QUALIFIER", part)
    sex = header.patient.gender
    if not sex or not valid_time(header.patient.birth_time):
        faults.add("CDA-H18", patient, "birthTime" if sex else "administrativeGenderCode")
    if sex and sex not in sets.genders:
        faults.add("CDA-H18-VALUE", child(patient, "administrativeGenderCode"))
    for forbidden in ("religiousAffiliationCode", "raceCode", "ethnicGroupCode"):
        found = child(patient, forbidden)
        if found is not None:
            faults.add("CDA-H19", found)
    if header.patient.ins is not None:
        _ins(header, role, patient, faults)


def _ins(header: CdaHeader, role: etree._Element, patient: etree._Element, faults: Faults) -> None:
    """I01, I02: the matricule, and the traits that make it an identity."""
    who = header.patient
    assert who is not None
    for identifier in childs(role, "id"):
        if attribute(identifier, "root") in INS_OIDS and not valid_ins(attribute(identifier, "extension")):
            faults.add("CDA-I01-KEY", identifier)
    if len({i.extension for i in who.ids if i.root in INS_OIDS}) > 1:
        faults.add("CDA-I01-SEVERAL", role, "id")
    name = child(patient, "name")
    families = {attribute(f, "qualifier") for f in childs(name, "family") if text(f)}
    givens = {attribute(g, "qualifier") for g in childs(name, "given") if text(g)}
    missing = [
        label
        for label, present in (
            ("nom de naissance (family, qualifier BR)", "BR" in families),
            ("premier prénom de naissance (given, qualifier BR)", "BR" in givens),
            ("prénoms de naissance (given, sans qualifier)", "" in givens),
            ("date de naissance (birthTime)", bool(who.birth_time)),
            (
                "lieu de naissance (birthplace/place/addr/county, code officiel géographique)",
                bool(who.birthplace_code),
            ),
            ("sexe (administrativeGenderCode)", bool(who.gender)),
        )
        if not present
    ]
    if missing:
        faults.add("CDA-I02", patient, missing=", ".join(missing))
