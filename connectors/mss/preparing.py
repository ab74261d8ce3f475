"""From a transmission to the mails it asks for, and everything that forbids one. Pure.

Purpose: the pre-transaction of the MSSanté connector: recipients, metadata, PDF copies, sizes, texts.
Guarantee: every finding is collected; a plan made without a rejecting finding can be built at delivery.
Source: spec/mssante.md §1 (volet Transmission v2.1 mapping MSS, Référentiel socle MSSanté #2).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

from connectors.mss import mail, narrative, pdf_copy, wording, xdm
from connectors.mss.addresses import domain_of, is_address, is_minor, patient_address, same_mailbox_key
from connectors.mss.plan import Emitter, Leg, MailPlan, PdfCopy, PlannedDocument
from connectors.mss.settings import Bodies, MssSettings
from connectors.port import Preparation
from connectors.xds.mapping import UNLISTED_FORMAT, document_entry, submission_set
from connectors.xds.model import DocumentEntry, SubmissionSet
from connectors.xds.oid import oid_of
from gateway.cda.document import Document
from gateway.errors import Place
from gateway.hl7.transmission import Action, Party, Transmission
from gateway.rules import Findings, RuleBook, megabytes

NOTHING: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is known of the outside when a mail is prepared."""

    white_list: frozenset[str] | None = None
    """Lower-cased domains; None: not checked."""
    announced_size: int | None = None
    """Largest mail in bytes that the operator said it takes; None: not known yet."""
    renders: bool = False
    """A PDF copy can be laid out for a document that holds none."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """What all the mails of a transmission share."""

    documents: tuple[PlannedDocument, ...]
    submission: SubmissionSet
    label: str
    pdf_sizes: tuple[int, ...]


def prepare(
    preparation: Preparation,
    settings: MssSettings,
    book: RuleBook,
    limits: Limits,
    *,
    version: str,
) -> tuple[list[MailPlan], Findings]:
    """One plan per recipient address, and all findings. The plans are only to be used when nothing rejects.

    `version`: of the running software.
    """
    findings = Findings(book)
    transmission = preparation.transmission
    recipients = _recipients(preparation, settings, limits.white_list, findings)
    for address in transmission.reply_to:
        if not is_address(address):
            findings.add("MSS-REPLY-TO")
    draft = _draft(preparation, settings, limits.renders, findings)
    if draft is None or findings.rejects:
        return [], findings
    plans = [_plan(preparation, settings, draft, party, leg, version) for party, leg in recipients]
    sized = []
    for plan, (party, _) in zip(plans, recipients, strict=True):
        limit = smallest(settings.size_limit(domain_of(plan.recipient)), limits.announced_size)
        _check_size(plan, preparation, limit, draft, party, findings)
        sized.append(replace(plan, size_limit=limit))
    return sized, findings


def attachments(
    plan: MailPlan, contents: list[bytes], *, first: bool, rendered: Mapping[str, bytes] = NOTHING
) -> list[mail.Attachment]:
    """IHE_XDM.ZIP and the PDF copies of `contents` (the documents' bytes in the plan's order).

    `rendered`: copies that were laid out, by the SHA-256 of their document.
    """
    made = [
        mail.Attachment("application/zip", mail.ARCHIVE_NAME, xdm.build(plan, contents, first=first)),
    ]
    for planned, content in zip(plan.documents, contents, strict=True):
        if planned.pdf is PdfCopy.RENDERED:
            pdf = rendered.get(planned.sha256)
        else:
            pdf = pdf_copy.extract(content, planned.pdf)
        if pdf is not None:
            made.append(mail.Attachment("application/pdf", planned.pdf_name, pdf))
    return made


# --- recipients ------------------------------------------------------------------------------------------


def _recipients(
    preparation: Preparation,
    settings: MssSettings,
    white_list: frozenset[str] | None,
    findings: Findings,
) -> list[tuple[Party, Leg]]:
    """The recipients to write to, each mailbox once, in the order of the message."""
    transmission = preparation.transmission
    flags = transmission.flags
    patients = transmission.recipients_patient
    if flags.dest_mssante_pat and not patients and settings.compute_patient_address:
        address = patient_address(transmission.patient)
        if address is not None:
            patients = (Party(Place("PID"), address=address),)
    legs = (
        (Leg.PROFESSIONAL, flags.dest_mssante_ps, transmission.recipients_ps, flags.masque_ps),
        (Leg.PATIENT, flags.dest_mssante_pat, patients, flags.invisible_patient),
    )
    # the profile refuses these before any connector is asked; this is the last door before a wrong recipient
    forbidden = {Leg.PROFESSIONAL: "MSS-MASKED-TO-PS", Leg.PATIENT: "MSS-INVISIBLE-TO-PATIENT"}
    kept: list[tuple[Party, Leg]] = []
    seen: set[str] = set()
    for leg, asked, parties, closed in legs:
        if not asked:
            continue
        if not parties:
            findings.add("MSS-NO-RECIPIENT")
        for party in parties:
            place = _address_place(party)
            address = party.address or ""
            if closed:
                findings.add(forbidden[leg], place)
            if leg is Leg.PATIENT and _read_by_representatives(preparation):
                findings.add("MSS-INVISIBLE-TO-REPRESENTATIVE", place)
            if not is_address(address):
                findings.add("MSS-ADDRESS", place)
                continue
            if white_list is not None and domain_of(address) not in white_list:
                findings.add("MSS-DOMAIN-UNLISTED", place)
            if same_mailbox_key(address) in seen:
                findings.add("MSS-DUPLICATE-RECIPIENT", place)
                continue
            seen.add(same_mailbox_key(address))
            kept.append((party, leg))
    return kept


def _address_place(party: Party) -> Place:
    """PRT-15.4, or PID-3 for an address that was computed."""
    if party.place.segment == "PID":
        return replace(party.place, field=3)
    return replace(party.place, field=15, component=4)


def _read_by_representatives(preparation: Preparation) -> bool:
    """INVISIBLE_REP_LEGAUX towards the mailbox of a minor, which the legal representatives open."""
    transmission = preparation.transmission
    if not transmission.flags.invisible_rep_legaux:
        return False
    told = [transmission.patient.birth_date]
    told += [d.header.patient.birth_time for d in preparation.documents if d.header.patient]
    return any(is_minor(date, preparation.now) for date in told)


# --- documents -------------------------------------------------------------------------------------------


def _draft(
    preparation: Preparation, settings: MssSettings, renders: bool, findings: Findings
) -> _Draft | None:
    """Metadata and PDF copies of every document; None when something needed is missing (findings say
    what)."""
    transmission = preparation.transmission
    account = transmission.account_number.value if transmission.account_number else ""
    planned: list[PlannedDocument] = []
    sizes: list[int] = []
    names: set[str] = set()
    for number, document in enumerate(preparation.documents, 1):
        place = transmission.parts[document.part].place
        entry = _entry(document, transmission, place, findings)
        copy, size = _pdf(document, place, renders, findings)
        sizes.append(size)
        name = wording.pdf_name(document, account)
        if name in names:
            # two documents of one ORU have the same patient, act and type: the reader must still tell them
            # apart
            name = f"{name.removesuffix('.pdf')}_{number}.pdf"
        names.add(name)
        if entry is not None:
            archive_name = xdm.document_name(number)
            planned.append(PlannedDocument(document.uid, document.sha256, archive_name, entry, copy, name))
    if not planned or len(planned) != len(preparation.documents):
        return None
    code = preparation.documents[0].header.code
    label = transmission.document_type.label or (code.label or code.code if code else planned[0].entry.title)
    classed = transmission
    if not transmission.patient_class:
        # PV1 is optional in an ORU, contentTypeCode is not in the lot
        classed = replace(transmission, patient_class=settings.default_patient_class)
    lot, problems = submission_set(
        classed,
        unique_id=oid_of(uuid.uuid4()),
        source_id=settings.source_oid,
        now=preparation.now,
        # as the official archives: the lot of one document is named as it is
        title=planned[0].entry.title if len(planned) == 1 else wording.one_line(label),
        patient_id=planned[0].entry.patient_id,
        author=planned[0].entry.authors[0] if planned[0].entry.authors else None,
    )
    if lot is None:
        findings.add("MSS-METADATA", Place("PV1", field=2), names=", ".join(problems))
        return None
    return _Draft(tuple(planned), lot, wording.one_line(label), tuple(sizes))


def _entry(
    document: Document, transmission: Transmission, place: Place, findings: Findings
) -> DocumentEntry | None:
    """The document's metadata. Without an INS the patient is named by the establishment's own identifier: the
    mail then says X-MSS-INS N (ECO.2.4.2)."""
    # a model that the tables do not know yet has its place in the value set: a mail is not refused for it
    result = document_entry(
        document, transmission, fallbacks={"formatCode": UNLISTED_FORMAT}, optional=("patientId",)
    )
    problems = list(result.problems)
    entry = result.entry
    if entry is not None and not entry.patient_id:
        entry = replace(entry, patient_id=entry.source_patient_id)
        if not entry.patient_id:
            problems.append("patientId")
    if problems or entry is None:
        findings.add("MSS-METADATA", replace(place, field=5), names=", ".join(problems))
        return None
    if entry.format_code == UNLISTED_FORMAT:
        findings.add("MSS-FORMAT-UNLISTED", replace(place, field=5))
    return entry


def _pdf(document: Document, place: Place, renders: bool, findings: Findings) -> tuple[PdfCopy, int]:
    """Where the PDF copy is and its size. It is really read: a mail accepted now must be buildable later.

    A copy that will be rendered counts for nothing: it is left out of a mail that it would make too large.
    """
    copy = pdf_copy.where(document.header.body)
    if copy is PdfCopy.NONE and renders and document.header.body.kind == "structured":
        try:
            narrative.page(document.content)
        except narrative.NotRenderable:
            pass
        else:
            return PdfCopy.RENDERED, 0
    if copy is PdfCopy.NONE:
        findings.add("MSS-PDF-ABSENT", replace(place, field=5))
        return copy, 0
    try:
        return copy, len(pdf_copy.extract(document.content, copy) or b"")
    except pdf_copy.NoPdf:
        findings.add("MSS-PDF-UNREADABLE", replace(place, field=5))
        # with the rule relaxed to a warning the mail goes without the copy
        return PdfCopy.NONE, 0


# --- plans ----------------------------------------------------------------------------------------------------


def _plan(
    preparation: Preparation,
    settings: MssSettings,
    draft: _Draft,
    party: Party,
    leg: Leg,
    version: str,
) -> MailPlan:
    transmission = preparation.transmission
    documents = preparation.documents
    token = uuid.uuid4().hex
    codes = (wording.code_word(d.header.code.code) for d in documents if d.header.code)
    bodies = settings.bodies_patient if leg is Leg.PATIENT else settings.bodies_ps
    given = transmission.body_patient if leg is Leg.PATIENT else transmission.body_ps
    asked = given.text if given is not None and given.text.strip() else None
    sender = transmission.sender
    return MailPlan(
        recipient=party.address or "",
        recipient_id=party.person.id if party.person else "",
        leg=leg,
        action=transmission.action,
        sender=settings.from_address,
        sender_name=settings.from_name,
        reply_to=transmission.reply_to,
        subject=wording.subject(draft.label, documents[0].header.patient, transmission.patient),
        body=asked if asked is not None else _default_body(bodies, transmission.action, draft.label),
        first_body=asked if asked is not None else _default_body(bodies, Action.SUBMIT, draft.label),
        message_id=f"<{token}@{domain_of(settings.from_address)}>",
        envid=token,
        boundary=f"=_{token}",
        created=preparation.now.replace(microsecond=0),
        ask_reception=transmission.flags.ack_reception,
        ask_reading=transmission.flags.ack_lecture_mss,
        final=leg is Leg.PATIENT and transmission.patient_may_not_answer,
        codes=tuple(dict.fromkeys(code for code in codes if code)),
        ins_complete=all(wording.ins_complete(d) for d in documents),
        product_reference=settings.product_reference,
        documents=draft.documents,
        # one lot per mail: a lot is one act of sending
        submission=replace(draft.submission, unique_id=oid_of(uuid.uuid4())),
        emitter=_emitter(settings, sender, version),
    )


def _default_body(bodies: Bodies, action: Action, label: str) -> str:
    texts = {Action.SUBMIT: bodies.submit, Action.REPLACE: bodies.replace, Action.DELETE: bodies.delete}
    return texts[action].format(document=label)


def _emitter(settings: MssSettings, sender: Party | None, version: str) -> Emitter:
    """README.TXT names the sender of the message and, where it names none, the settings' organisation."""
    person = sender.person if sender else None
    organisation = sender.organisation if sender else None
    own = settings.organisation
    return Emitter(
        name=f"{person.family} {person.given}".strip() if person else settings.from_name,
        organisation=organisation.name if organisation and organisation.name else own.name,
        organisation_id=organisation.number if organisation and organisation.number else own.id,
        address=own.address,
        phone=own.phone,
        software=settings.software.name,
        version=settings.software.version or version,
        editor=settings.software.editor,
    )


def smallest(*limits: int | None) -> int | None:
    """The smallest limit that is one."""
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def _check_size(
    plan: MailPlan,
    preparation: Preparation,
    limit: int | None,
    draft: _Draft,
    party: Party,
    findings: Findings,
) -> None:
    """MSS-TOO-LARGE over `limit` bytes. The mail is built only when bounds do not tell: what its PDF copies alone take
    in base64 refuses it at once (50 MB are not built for nothing), its upper bound lets it through."""
    if limit is None:
        return
    if sum(draft.pdf_sizes) * 4 // 3 > limit:
        findings.add("MSS-TOO-LARGE", _address_place(party), limit=megabytes(limit))
        return
    archive = xdm.size_bound(plan, [len(d.content) for d in preparation.documents])
    body = max(plan.body, plan.first_body, key=len)
    if mail.size_bound(plan, body, [archive, *draft.pdf_sizes]) <= limit:
        return
    contents = [d.content for d in preparation.documents]
    if len(mail.build(plan, body, attachments(plan, contents, first=False))) > limit:
        findings.add("MSS-TOO-LARGE", _address_place(party), limit=megabytes(limit))
