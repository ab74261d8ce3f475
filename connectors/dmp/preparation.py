"""The pre-transaction of the DMP: everything that can be known before the network.

Purpose: from a transmission and its documents to findings (all of them) and planned deliveries. Pure.
Guarantee: no delivery is planned while one finding rejects; one lot, hence one delivery, for each document.
Fails: `GatewayBug` for a rule missing from the table.
Source: spec/dmp.md §8.1 (list), §0 (reasons).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from connectors.dmp import plan as plans
from connectors.dmp.plan import Plan
from connectors.dmp.roles import Roles
from connectors.dmp.settings import DmpSettings, Role
from connectors.dmp.vihf import VihfSubject
from connectors.dmp.xades import signable
from connectors.port import PlannedDelivery, Preparation
from connectors.xds import formats
from connectors.xds.mapping import UNLISTED_FORMAT, document_entry, submission_set
from connectors.xds.model import XdsCode
from connectors.xds.oid import is_oid
from connectors.xds.tables import Tables
from gateway.cda.document import Document
from gateway.errors import Place
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import Findings, RuleBook, megabytes

MAX_TITLE = 128
_PID3 = Place("PID", field=3)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot carry: a message can, a document cannot."""


def prepare(
    preparation: Preparation,
    settings: DmpSettings,
    tables: Tables,
    roles: Roles,
    structure_of_certificate: str,
    book: RuleBook,
) -> tuple[Findings, tuple[PlannedDelivery, ...]]:
    """All findings, and the deliveries when none rejects."""
    sent = preparation.transmission
    findings = Findings(book)
    subject = _subject(preparation, settings, roles, structure_of_certificate, findings)
    _patient(sent, settings, findings)
    if any(_NOT_XML.search(value) for value in _of_message(sent, subject)):
        findings.add("DMP-CHARACTER", sent.sender.place if sent.sender else None)
    if sent.flags.connexion_secrete and not settings.vihf.secret_connection:
        findings.add("DMP-SECRET")
    made = [
        _document(number, document, preparation, settings, tables, subject, findings)
        for number, document in enumerate(preparation.documents, 1)
    ]
    if findings.rejects:
        return findings, ()
    return findings, tuple(
        PlannedDelivery(recipient="", document_uids=(p.unique_id,), plan=plans.dump(p)) for p in made if p
    )


def _of_message(sent: Transmission, subject: VihfSubject) -> tuple[str, ...]:
    """Texts of the message that go to the VIHF and to the lot."""
    person = sent.sender.person if sent.sender else None
    organisation = sent.sender.organisation if sent.sender else None
    names = (person.id, person.family, person.given, person.authority) if person else ()
    house = (organisation.name, organisation.number) if organisation else ()
    return (subject.structure, subject.name_id, subject.display, subject.patient, *names, *house)


def own_structures(settings: DmpSettings, of_certificate: str) -> frozenset[str]:
    """Struct_IdNat that our certificate speaks for: its own (EJ) and those of its geographic entities
    (EG).
    """
    return frozenset((of_certificate, *settings.structures.get(of_certificate, ())))


def _subject(
    preparation: Preparation, settings: DmpSettings, roles: Roles, of_certificate: str, findings: Findings
) -> VihfSubject:
    """The VIHF's subject from PRT `SB` (§2.2)."""
    sent = preparation.transmission
    sender = sent.sender
    organisation = sender.organisation if sender else None
    person = sender.person if sender else None
    place = sender.place if sender else None
    structure = formats.struct_id_nat(organisation) if organisation else ""
    if sender is None:
        findings.add("DMP-SENDER", what="segment absent")
    else:
        if not structure:
            findings.add("DMP-SENDER", place, what="identifiant de structure, PRT-8.10")
        elif structure not in own_structures(settings, of_certificate):
            findings.add("DMP-STRUCTURE", place)
        if not (person and person.id) and not sender.device:
            findings.add("DMP-SENDER", place, what="personne, PRT-5.1, ou équipement, PRT-10.1")
    ins = sent.patient.ins
    patient = formats.patient_cx(ins) if ins else ""
    secret = sent.flags.connexion_secrete
    if person and person.id and settings.vihf.subject == "sender":
        name = f"{person.family} {person.given}".strip()
        ps_id = formats.ps_id_nat(person)
        own: tuple[Role, ...] = ()
        if settings.vihf.roles_from == "sender":
            authors = (a for d in preparation.documents for a in d.header.authors)
            own = roles.of_person(ps_id, authors) or ()
        return VihfSubject(structure, ps_id, name, patient, secret, own)
    device = (sender.device if sender else None) or settings.software.name
    service = organisation.name if organisation else ""
    display = ", ".join(x for x in (settings.software.name, settings.software.version, service) if x)
    return VihfSubject(structure, f"{structure}/{device}", display, patient, secret)


def _patient(sent: Transmission, settings: DmpSettings, findings: Findings) -> None:
    ins = sent.patient.ins
    if ins is None or not ins.value:
        findings.add("DMP-INS-MISSING", _PID3)
        return
    if ins.authority not in settings.ins_oids.get(sent.processing_id, ()):
        findings.add("DMP-INS-DOMAIN", _PID3, processing=sent.processing_id or "?")
    if sent.patient.identity_status != "VALI":
        findings.add("DMP-INS-STATUS", Place("PID", field=32))


def _document(
    number: int,
    document: Document,
    preparation: Preparation,
    settings: DmpSettings,
    tables: Tables,
    subject: VihfSubject,
    findings: Findings,
) -> Plan | None:
    """Check one document and plan its lot; None when it cannot be planned (a finding says why)."""
    sent = preparation.transmission
    place = sent.parts[document.part].place if document.part < len(sent.parts) else None
    _identity(number, document, sent, subject, place, findings)
    problems: list[str] = []
    entry = None
    if sent.action is not Action.DELETE:
        _shareable(number, document, settings, tables, place, findings)
        fallbacks: dict[str, XdsCode] = {"formatCode": UNLISTED_FORMAT} if settings.unlisted_format else {}
        mapped = document_entry(document, sent, tables=tables, fallbacks=fallbacks, digest=False)
        entry = mapped.entry
        # identifiers and patient have rules of their own
        problems += [p for p in mapped.problems if p not in ("uniqueId", "patientId")]
    label = document.header.code.label if document.header.code else ""
    lot, lot_problems = submission_set(
        sent,
        unique_id="",
        source_id=settings.instance_oid,
        now=preparation.now,
        title=label,
        tables=tables,
    )
    problems += [p for p in lot_problems if p not in ("patientId", "author")]
    for attribute in problems:
        findings.add("DMP-METADATA", place, attribute=attribute, document=number)
    if lot is None or (entry is None and sent.action is not Action.DELETE):
        return None
    replaced = document.header.replaced_id if sent.action is Action.REPLACE else None
    return Plan(
        version=plans.VERSION,
        unique_id=document.uid,
        subject=subject,
        lot=lot,
        entry=entry,
        replaces=str(replaced) if replaced else "",
    )


def _identity(
    number: int,
    document: Document,
    sent: Transmission,
    subject: VihfSubject,
    place: Place | None,
    findings: Findings,
) -> None:
    """Whose document it is, and which."""
    header = document.header
    if header.id is None or header.id.extension or not is_oid(header.id.root):
        findings.add("DMP-ID", place, document=number, what="ClinicalDocument/id")
    if sent.action is Action.REPLACE:
        replaced = header.replaced_id
        if replaced is None:
            findings.add("DMP-REPLACED", place, document=number)
        elif replaced.extension or not is_oid(replaced.root):
            findings.add("DMP-ID", place, document=number, what="relatedDocument")
    ins, own = sent.patient.ins, header.patient.ins if header.patient else None
    if own is None or not own.extension:
        findings.add("DMP-INS-DOCUMENT", place, document=number)
    elif ins is not None and (own.extension, own.root) != (ins.value, ins.authority):
        findings.add("DMP-INS-DIFFERENT", place, document=number)
    if subject.structure and not _is_author(subject.structure, header.author_organisations):
        findings.add("DMP-AUTHOR", place, document=number)


def _is_author(structure: str, organisations: Collection[str]) -> bool:
    """EX_2.1-1140: the VIHF's structure must be that of one author, spelled the same."""
    return structure in organisations


def _shareable(
    number: int,
    document: Document,
    settings: DmpSettings,
    tables: Tables,
    place: Place | None,
    findings: Findings,
) -> None:
    """What the DMP accepts to hold (JDV_J66 is a rule of the document: CDA-H09-J66)."""
    header = document.header
    if len(header.title) > MAX_TITLE:
        findings.add("DMP-TITLE", place, document=number)
    event = header.principal_event
    organisation = event.performer_organisation if event else None
    industry = organisation.industry if organisation else None
    if industry is not None and industry.code in tables.practice and industry.code not in tables.practice_dmp:
        findings.add("DMP-PRACTICE", place, document=number)
    signer = header.legal_authenticator
    # without any identifier it is a missing attribute, told as such
    known = [i for i in signer.ids if i.extension] if signer is not None else []
    if known and not any(i.root == formats.PS_ID for i in known):
        findings.add("DMP-SIGNER", place, document=number)
    if header.confidentiality is not None and header.confidentiality.code in ("R", "V"):
        findings.add("DMP-CONFIDENTIALITY", place, document=number)
    if not signable(document.content):
        findings.add("DMP-SIGNABLE", place, document=number)
    if len(document.content) > settings.max_document_size:
        findings.add("DMP-SIZE", place, document=number, limit=megabytes(settings.max_document_size))
