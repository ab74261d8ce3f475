"""A document and a transmission made by hand: what the CDA reader and the HL7 profile would give."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from connectors.xds.mapping import submission_set
from connectors.xds.model import SubmissionSet
from fixtures import build
from gateway.cda.document import (
    CdaAuthor,
    CdaBody,
    CdaHeader,
    CdaOrganisation,
    CdaPatient,
    CdaSigner,
    Document,
    PersonName,
    RelatedDocument,
    ServiceEvent,
)
from gateway.errors import Place
from gateway.hl7.transmission import (
    Action,
    Code,
    DocumentPart,
    Flags,
    InstanceId,
    Organisation,
    Party,
    Patient,
    PatientId,
    Person,
    Transmission,
)

PS = "1.2.250.1.71.4.2.1"
STRUCT = "1.2.250.1.71.4.2.2"
LOINC = "2.16.840.1.113883.6.1"
ROOT = build.DOCUMENT_ROOT
INS = InstanceId(build.INS_TEST, build.PATIENT.ins)
HOSPITAL = CdaOrganisation((InstanceId(STRUCT, build.FINESS),), "Hôpital & Fils")
DOCTOR = PersonName("MARTIN", "Claude")


def header(**changes: Any) -> CdaHeader:
    """A conform header; `changes` by field name."""
    made = CdaHeader(
        id=InstanceId(f"{ROOT}.1.1"),
        set_id=InstanceId(f"{ROOT}.1"),
        version=1,
        code=Code("11502-2", "CR d'examens biologiques", LOINC),
        title="Compte rendu d'examens biologiques",
        effective_time="20260110093000+0100",
        confidentiality=Code("N", "Normal", "2.16.840.1.113883.5.25"),
        language="fr-FR",
        template_ids=(InstanceId("1.2.250.1.213.1.1.1.1"), InstanceId("1.2.250.1.213.1.1.1.55", "2024.01")),
        patient=CdaPatient(
            ids=(INS, InstanceId(build.IPP_ROOT, "8004567")),
            birth_family="TEST-DURAND",
            birth_given="CAMILLE",
            given_all="CAMILLE ANDREA",
            used_family="TEST-DURAND",
            used_given="CAMILLE",
            birth_time="19841203",
            gender="M",
            birthplace_code="75123",
        ),
        authors=(
            CdaAuthor(
                # the insurance number comes first on purpose: identifiers are chosen by root
                ids=(InstanceId("1.2.250.1.215.300.5", "123"), InstanceId(PS, "810100000016")),
                time="20260110093000+0100",
                code=Code("G15_10/SM03", "Médecin - Biologie médicale (SM)", "1.2.250.1.213.1.1.4.5"),
                person=DOCTOR,
                organisation=HOSPITAL,
            ),
        ),
        custodian=HOSPITAL,
        legal_authenticator=CdaSigner(
            (InstanceId(PS, "810100000016"),), "20260110093000+0100", DOCTOR, HOSPITAL
        ),
        related=(),
        events=(
            ServiceEvent(code=Code("18725-2", "Microbiologie", LOINC)),
            ServiceEvent(
                code=Code("18719-5", "Chimie", LOINC),
                low="20260109080000+0100",
                high="20260109081500+0100",
                has_performer=True,
                performer_organisation=replace(
                    HOSPITAL,
                    industry=Code("ETABLISSEMENT", "Etablissement de santé", "1.2.250.1.213.1.1.4.9"),
                ),
            ),
        ),
        facility=Code("SA01", "Etablissement public de santé", "1.2.250.1.71.4.2.4"),
        order_ids=(InstanceId("1.2.3.4", "A7"),),
        accession_ids=(),
        body=CdaBody("structured"),
    )
    return replace(made, **changes)


def document(content: bytes | None = None, **changes: Any) -> Document:
    """A document: synthetic CDA bytes with CRLF, comments and accents, and a header to match."""
    made = header(**changes)
    if content is None:
        content = build.cda_n3(uid=made.id.root if made.id else "1.2.3").replace(b"\n", b"\r\n", 3)
        content = content.replace(b"<realmCode", "<!-- é à ç -->\r\n<realmCode".encode(), 1)
    return Document(made, content, hashlib.sha256(content).hexdigest())


def version_2(**changes: Any) -> Document:
    """Version 2 of `document()`, which it replaces."""
    return document(
        id=InstanceId(f"{ROOT}.1.2"),
        version=2,
        related=(RelatedDocument("RPLC", InstanceId(f"{ROOT}.1.1")),),
        **changes,
    )


def transmission(action: Action = Action.SUBMIT, **changes: Any) -> Transmission:
    """What a DPI asks for with that document: DMP alone."""
    sender = Party(
        place=Place("PRT"),
        person=Person("810100000016", "MARTIN", "Claude", PS, "IDNPS"),
        organisation=Organisation("Hôpital & Fils", STRUCT, "FINEG", build.FINESS[1:]),
    )
    made = Transmission(
        control_id="MSG0001",
        message_type="MDM",
        event={Action.SUBMIT: "T02", Action.REPLACE: "T10", Action.DELETE: "T04"}[action],
        version="2.6",
        processing_id="T",
        sending_application="DPI",
        sending_facility="HOPITAL",
        receiving_application="PFI",
        receiving_facility="HOPITAL",
        action=action,
        patient=Patient(
            identifiers=(
                PatientId("8004567", build.IPP_ROOT, "PI"),
                PatientId(build.PATIENT.ins, build.INS_TEST, "INS"),
            ),
            identity_status="VALI",
        ),
        patient_class="I",
        visit_number=None,
        account_number=None,
        document_type=Code("11502-2", "CR d'examens biologiques", "LN"),
        document_id=InstanceId(f"{ROOT}.1.1"),
        replaced_id=None,
        parts=(DocumentPart(Place("OBX", 1), Code("11502-2", "", "LN"), "F", 0, 0),),
        sender=sender,
        recipients=(),
        reply_to=(),
        flags=Flags(dest_dmp=True, invisible_patient=True),
    )
    return replace(made, **changes)


def lot() -> SubmissionSet:
    """A submission set of the sample transmission; its identifier is a builder's business."""
    made, problems = submission_set(
        transmission(),
        unique_id="",
        source_id="1.2.250.1.999.1",
        now=datetime(2026, 1, 10, 9, tzinfo=UTC),
        title="Lot",
    )
    assert made is not None, problems
    return made
