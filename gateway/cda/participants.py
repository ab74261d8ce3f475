"""People, organisations and acts of a CDA header: rules H20 to H25 and H28.

Purpose: part of the compact rules (see `rules`). Source: spec/cda.md §4; the Structuration minimale as its official
schematron reads it. Never stricter than that schematron, save where a metadata of the DMP or of MSSanté needs the
value.

Guarantee: pure; each rule at most once per document, at its first fault.
Fails: never; everything is a fault.
"""

from __future__ import annotations

from lxml import etree

from gateway.cda.document import CdaAuthor, CdaHeader
from gateway.cda.faults import Faults
from gateway.cda.header import attribute, child, childs, text
from gateway.cda.values import valid_time
from gateway.cda.valuesets import ValueSets
from gateway.hl7.transmission import INS_OIDS, Code

STRUCTURES = "1.2.250.1.71.4.2.2"
PATIENT_DOCUMENTS = "1.2.250.1.213.4.1"
PROFESSIONALS = "1.2.250.1.71.4.2.1"
RELATED = frozenset({"ECON", "NOK", "CON", "CAREGIVER", "PAT"})


def check_people(root: etree._Element, header: CdaHeader, faults: Faults, sets: ValueSets) -> None:
    """H20 (authors), H21 (custodian), H22 (legal authenticator), H28 (the others)."""
    if not header.authors:
        faults.add("CDA-H20", None, "author")
    for author, element in zip(header.authors, childs(root, "author"), strict=True):
        _author(author, element, faults, sets)
    owner = header.custodian
    if owner is None or not any(i.root in (STRUCTURES, PATIENT_DOCUMENTS) and i.extension for i in owner.ids):
        faults.add("CDA-H21", child(root, "custodian"))
    signer = header.legal_authenticator
    at = child(root, "legalAuthenticator")
    if signer is None or sum(1 for _ in childs(root, "legalAuthenticator")) != 1:
        faults.add("CDA-H22", at, "" if at is not None else "legalAuthenticator")
    else:
        missing = [
            label
            for label, present in (
                ("signatureCode S", attribute(child(at, "signatureCode"), "code") == "S"),
                ("date (time)", valid_time(signer.time, zone=False)),
                ("identifiant (assignedEntity/id)", any(i.extension for i in signer.ids)),
                ("nom (assignedPerson/name/family)", bool(signer.person and signer.person.family)),
            )
            if not present
        ]
        if missing:
            faults.add("CDA-H22-CONTENT", at, missing=", ".join(missing))
    _others(root, faults, sets)


def _author(author: CdaAuthor, element: etree._Element, faults: Faults, sets: ValueSets) -> None:
    assigned = child(element, "assignedAuthor")
    person, device = child(assigned, "assignedPerson"), child(assigned, "assignedAuthoringDevice")
    missing = [
        label
        for label, present in (
            ("identifiant avec root et extension (id)", any(i.extension for i in author.ids)),
            ("date de participation (time)", valid_time(author.time, zone=False)),
            (
                "assignedPerson ou assignedAuthoringDevice (un seul des deux)",
                (person is None) != (device is None),
            ),
        )
        if not present
    ]
    if missing:
        faults.add("CDA-H20-AUTHOR", element, missing=", ".join(missing))
    if person is not None and not text(child(person, "name", "family")):
        faults.add("CDA-H20-NAME", person)
    if device is not None and not (author.device_name and author.device_model):
        faults.add("CDA-H20-DEVICE", device)
    code = child(assigned, "code")
    if code is None:
        faults.add("CDA-H20-NO-CODE", assigned if assigned is not None else element, "code")
    elif not _complete(author.code):
        faults.add("CDA-H20-CODE", code)
    elif author.code is not None and author.code.code not in sets.specialties:
        faults.add("CDA-H20-J01", code, edition=sets.editions["author_specialty.tsv"])
    # a patient's own document has no organisation: its author is the INS itself
    own = any(i.root in INS_OIDS for i in author.ids)
    known = author.organisation is not None and any(i.root == STRUCTURES for i in author.organisation.ids)
    if not own and not known:
        faults.add(
            "CDA-H20-ORGANISATION", assigned if assigned is not None else element, "representedOrganization"
        )


def _complete(code: Code | None) -> bool:
    """Code, label and coding system."""
    return code is not None and bool(code.label) and bool(code.system)


def _others(root: etree._Element, faults: Faults, sets: ValueSets) -> None:
    """H28: informants, participants, authenticators, consents, orders."""
    for informant in childs(root, "informant"):
        entity, relation = child(informant, "assignedEntity"), child(informant, "relatedEntity")
        bad = (entity is None) == (relation is None)
        if relation is not None and entity is None:
            bad = attribute(relation, "classCode") not in RELATED or child(relation, "relatedPerson") is None
        if bad:
            faults.add("CDA-H28-INFORMANT", informant)
    for participant in childs(root, "participant"):
        entity = child(participant, "associatedEntity")
        if (
            child(participant, "time") is None
            or entity is None
            or attribute(entity, "classCode") not in ("PROV", "AGNT")
        ):
            faults.add("CDA-H28-PARTICIPANT", participant)
        if attribute(participant, "typeCode") not in sets.participations:
            faults.add("CDA-H28-J144", participant)
    for authenticator in childs(root, "authenticator"):
        entity = child(authenticator, "assignedEntity")
        if (
            attribute(child(authenticator, "signatureCode"), "code") != "S"
            or not valid_time(attribute(child(authenticator, "time"), "value"), zone=False)
            or not any(
                attribute(i, "root") == PROFESSIONALS and attribute(i, "extension")
                for i in childs(entity, "id")
            )
        ):
            faults.add("CDA-H28-AUTHENTICATOR", authenticator)
    for authorization in childs(root, "authorization"):
        status = child(authorization, "consent", "statusCode")
        if attribute(status, "code") != "completed" and not attribute(status, "nullFlavor"):
            faults.add("CDA-H28-CONSENT", authorization)
    for filled in childs(root, "inFulfillmentOf"):
        for order in childs(filled, "order"):
            if sum(1 for _ in childs(order, "id")) != 1:
                faults.add("CDA-H28-ORDER", order)


def check_acts(root: etree._Element, header: CdaHeader, faults: Faults, sets: ValueSets) -> None:
    """H23 (documented acts), H24 (replaced document), H25 (encounter)."""
    _main_act(root, header, faults, sets)
    replacing = [e for e in childs(root, "relatedDocument") if attribute(e, "typeCode") == "RPLC"]
    for element, related in zip(childs(root, "relatedDocument"), header.related, strict=True):
        if related.parent_id is None:
            faults.add("CDA-H24", element, "parentDocument/id")
        if related.type_code != "RPLC":
            faults.add("CDA-H24-TYPE", element)
    if len(replacing) > 1:
        faults.add("CDA-H24", replacing[1])
    encounters = list(childs(child(root, "componentOf"), "encompassingEncounter"))
    if len(encounters) != 1 or sum(1 for _ in childs(root, "componentOf")) != 1:
        faults.add("CDA-H25", child(root, "componentOf"), "encompassingEncounter")
        return
    (encounter,) = encounters
    if child(encounter, "effectiveTime") is None:
        faults.add("CDA-H25-TIME", encounter, "effectiveTime")
    kind = child(encounter, "code")
    if (
        kind is not None
        and not attribute(kind, "nullFlavor")
        and attribute(kind, "code") not in sets.encounters
    ):
        faults.add("CDA-H25-J142", kind)
    place = child(encounter, "location", "healthCareFacility", "code")
    if not _complete(header.facility):
        faults.add("CDA-H25-FACILITY", encounter, "location/healthCareFacility/code")
    elif header.facility is not None and header.facility.code not in sets.facilities:
        faults.add("CDA-H25-J02", place, edition=sets.editions["facility.tsv"])


def _main_act(root: etree._Element, header: CdaHeader, faults: Faults, sets: ValueSets) -> None:
    """H23: the first act has the performer; its start and its practice setting feed the metadata."""
    first = child(root, "documentationOf", "serviceEvent")
    performers = list(childs(first, "performer"))
    if first is None or len(performers) != 1 or attribute(performers[0], "typeCode") != "PRF":
        faults.add("CDA-H23", first, "performer" if first is not None else "documentationOf/serviceEvent")
    act = header.principal_event
    if act is None:
        return
    event = next(
        e
        for d in childs(root, "documentationOf")
        for e in childs(d, "serviceEvent")
        if child(e, "performer") is not None
    )
    if not valid_time(act.low):
        faults.add("CDA-H23-LOW", event, "effectiveTime/low")
    industry = act.performer_organisation.industry if act.performer_organisation is not None else None
    at = child(event, "performer", "assignedEntity", "representedOrganization", "standardIndustryClassCode")
    if industry is None:
        faults.add(
            "CDA-H23-PRACTICE",
            event,
            "performer/assignedEntity/representedOrganization/standardIndustryClassCode",
        )
    elif industry.code not in sets.practices:
        faults.add("CDA-H23-J04", at, edition=sets.editions["practice.tsv"])
