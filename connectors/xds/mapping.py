"""From a CDA header and an HL7 transmission to XDS metadata: one mapping for the DMP and for MSSanté.

Purpose: `document_entry` and `submission_set`. Pure: no clock, no I/O, no identifier made here.
Guarantee: every missing or unmappable attribute is reported, by its XDS name, in one go; nothing is
invented: a value comes from the document, from the message, from a table or from an explicit fallback of the
settings.
Fails: never raises; an entry is None when an attribute that the model cannot do without is missing.
Source: mapping tables of the volet Transmission, spec/dmp.md §3.2 to §3.6, spec/mssante.md §1.6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TypeVar

from connectors.xds import formats
from connectors.xds.model import DocumentEntry, MappingResult, SubmissionSet, XdsAuthor, XdsCode
from connectors.xds.tables import Tables, load_tables
from gateway.cda.document import CdaAuthor, CdaHeader, CdaPatient, Document
from gateway.hl7.transmission import Code, Flags, Party, Transmission

_T = TypeVar("_T")

CDA_MIME = "text/xml"
SELF_PRESENTING_MIME = "application/xslt+xml"

UNLISTED_FORMAT = XdsCode(
    "urn:asipSante:modelesHorsProfils:2011",
    "1.2.250.1.213.1.1.4.2.282",
    "Document non référencé IHE ou CI-SIS",
)
"""formatCode of JDV_J60 for a structured document that ASS_A11 does not know; used only where a setting says
so.
"""

_ORDER = "urn:ihe:iti:xds:2013:order"
_ACCESSION = "urn:ihe:iti:xds:2013:accession"
_NOTHING: Mapping[str, XdsCode] = {}


def document_entry(
    document: Document,
    transmission: Transmission,
    *,
    tables: Tables | None = None,
    mime_type: str | None = None,
    fallbacks: Mapping[str, XdsCode] = _NOTHING,
    optional: Collection[str] = (),
    digest: bool = True,
) -> MappingResult:
    """The DocumentEntry of `document`, or the names of what prevents it.

    `mime_type`: left out, `text/xml`, or `application/xslt+xml` for a self-presenting CDA.
    `fallbacks`: value by XDS name (`formatCode`, `healthcareFacilityTypeCode`, `practiceSettingCode`) taken
    when the document or the tables give none. `optional`: XDS names whose absence is no problem
    (`serviceStartTime`, `legalAuthenticator`, `title`, `author`, `languageCode`). `digest`: False leaves
    size and sha1 empty, for a caller that computes them on the bytes it sends.
    """
    tables = tables or load_tables()
    header = document.header
    problems: list[str] = []

    def need(name: str, value: _T | None) -> _T | None:
        if not value and name not in optional:
            problems.append(name)
        return value or None

    patient = header.patient
    ins = patient.ins if patient else None
    type_code = need("typeCode", _type(header.code, tables))
    class_code = need("classCode", tables.class_by_type.get(header.code.code) if header.code else None)
    format_code = need("formatCode", _format(header, tables) or fallbacks.get("formatCode"))
    facility = need(
        "healthcareFacilityTypeCode",
        _coded(header.facility, tables.facility) or fallbacks.get("healthcareFacilityTypeCode"),
    )
    practice = need("practiceSettingCode", _practice(header, tables) or fallbacks.get("practiceSettingCode"))
    confidentiality = need("confidentialityCode", _confidentiality(header, transmission.flags, tables))
    event = header.principal_event
    unique_id = need("uniqueId", document.uid)
    creation = need("creationTime", formats.utc_time(header.effective_time))
    title = need("title", header.title.strip())
    language = need("languageCode", header.language)
    signer = need("legalAuthenticator", formats.signer_person(header.legal_authenticator))
    start = need("serviceStartTime", formats.utc_time(event.low) if event else "")
    authors = need("author", tuple(a for a in map(_author, header.authors) if a is not None))
    patient_id = need("patientId", formats.cx_of(ins, "NH") if ins and ins.extension else "")
    if problems or not (type_code and class_code and format_code and facility and practice):
        return MappingResult(None, tuple(problems))
    content = document.content
    return MappingResult(
        DocumentEntry(
            unique_id=unique_id or "",
            mime_type=mime_type or (SELF_PRESENTING_MIME if header.self_presenting else CDA_MIME),
            creation_time=creation or "",
            title=title or "",
            language=language or "",
            class_code=class_code,
            type_code=type_code,
            format_code=format_code,
            facility=facility,
            practice=practice,
            confidentiality=confidentiality or (),
            patient_id=patient_id or "",
            source_patient_id=_source_patient_id(patient) if patient else "",
            source_patient_info=_source_patient_info(patient) if patient else (),
            authors=authors or (),
            legal_authenticator=signer or "",
            service_start=start or "",
            service_stop=formats.utc_time(event.high) if event else "",
            event_codes=_events(header),
            reference_ids=_references(header),
            size=len(content) if digest else 0,
            sha1=sha1_of(content) if digest else "",
        ),
    )


def submission_set(
    transmission: Transmission,
    *,
    unique_id: str,
    source_id: str,
    now: datetime,
    title: str = "",
    comments: str = "",
    patient_id: str | None = None,
    author: XdsAuthor | None = None,
    tables: Tables | None = None,
) -> tuple[SubmissionSet | None, tuple[str, ...]]:
    """The lot of a transmission, and the XDS names of what is missing (`None` when something is).

    The author is the sender (PRT `SB`): institution from PRT-8, person from PRT-5; `author` is taken when
    the message names none. The content type follows PV1-2. `patient_id` replaces the INS of PID-3.
    """
    tables = tables or load_tables()
    problems: list[str] = []
    ins = transmission.patient.ins
    patient = patient_id if patient_id is not None else (formats.patient_cx(ins) if ins else "")
    sender = sender_author(transmission.sender) or author
    content = tables.content_by_class.get(transmission.patient_class)
    if not patient:
        problems.append("patientId")
    if sender is None:
        problems.append("author")
    if content is None:
        problems.append("contentTypeCode")
    if problems or sender is None or content is None:
        return None, tuple(problems)
    made = SubmissionSet(
        unique_id=unique_id,
        source_id=source_id,
        submission_time=formats.utc_now(now),
        title=title,
        content_type=content,
        patient_id=patient,
        author=sender,
        comments=comments,
    )
    return made, ()


def sender_author(sender: Party | None) -> XdsAuthor | None:
    """The author of the lot from PRT `SB`, or None when it names neither an organisation nor a person."""
    if sender is None:
        return None
    organisation, person = sender.organisation, sender.person
    institution: tuple[str, ...] = ()
    if organisation is not None:
        institution = (formats.xon(organisation.name, formats.struct_id_nat(organisation)),)
    name = ""
    if person is not None and person.id:
        name = formats.xcn(
            formats.ps_id_nat(person), person.family, person.given, person.authority or formats.PS_ID
        )
    if not institution and not name:
        return None
    return XdsAuthor(institution=institution, person=name)


def sha1_of(content: bytes) -> str:
    """XDS `hash`: lower-case hex SHA-1 of the bytes (an integrity sum of the standard, not a security
    measure).
    """
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _as_xds(code: Code) -> XdsCode:
    return XdsCode(code.code, code.system, code.label or code.code)


def _coded(code: Code | None, values: Mapping[str, XdsCode]) -> XdsCode | None:
    """`code` as the value set spells it; a code outside the set is not mappable."""
    return values.get(code.code) if code is not None else None


def _type(code: Code | None, tables: Tables) -> XdsCode | None:
    if code is None or not code.code or not code.system:
        return None
    return XdsCode(code.code, code.system, code.label or tables.type_labels.get(code.code, code.code))


def _format(header: CdaHeader, tables: Tables) -> XdsCode | None:
    """N1: by media type of the body; N3: by template, the national models first (§3.3)."""
    if header.body.kind == "nonXML":
        return tables.format_by_media.get(header.body.media_type.lower())
    known = [t.root for t in header.template_ids if t.root in tables.format_by_template]
    national = [root for root in known if root.startswith("1.2.250.")]
    chosen = next(iter(national or known), None)
    return tables.format_by_template[chosen] if chosen else None


def _practice(header: CdaHeader, tables: Tables) -> XdsCode | None:
    event = header.principal_event
    organisation = event.performer_organisation if event else None
    return _coded(organisation.industry, tables.practice) if organisation else None


def _confidentiality(header: CdaHeader, flags: Flags, tables: Tables) -> tuple[XdsCode, ...]:
    """The document's code first, then one per masking flag.

    OBX-3 `INVISIBLE_REP_LEGAUX` (twenty characters at most in HL7) is `INVISIBLE_REPRESENTANTS_LEGAUX` in
    XDS (§3.6).
    """
    first = _coded(header.confidentiality, tables.confidentiality)
    if first is None:
        return ()
    wanted = (
        ("MASQUE_PS", flags.masque_ps),
        ("INVISIBLE_PATIENT", flags.invisible_patient),
        ("INVISIBLE_REPRESENTANTS_LEGAUX", flags.invisible_rep_legaux),
    )
    return (first, *(tables.confidentiality[code] for code, present in wanted if present))


def _author(author: CdaAuthor) -> XdsAuthor | None:
    institution = formats.xon_of(author.organisation)
    person = formats.author_person(author)
    if not institution and not person:
        return None
    code = author.code
    specialty = f"{code.code}^{formats.text(code.label)}^{code.system}" if code and code.code else ""
    role = formats.text(author.function.label or author.function.code) if author.function else ""
    return XdsAuthor(
        institution=(institution,) if institution else (),
        person=person,
        role=(role,) if role else (),
        specialty=(specialty,) if specialty else (),
    )


def _source_patient_id(patient: CdaPatient) -> str:
    """The hospital's own identifier, else the INS."""
    ins = patient.ins
    local = next((i for i in patient.ids if i != ins and i.extension), None)
    if local is not None:
        return formats.cx_of(local, "PI")
    return formats.cx_of(ins, "NH") if ins else ""


def _source_patient_info(patient: CdaPatient) -> tuple[str, ...]:
    """PID-5 (birth name L, used name D), PID-7, PID-8, PID-11 (INSEE code of the place of birth)."""
    t = formats.text
    values = []
    if patient.birth_family:
        values.append(f"PID-5|{t(patient.birth_family)}^{t(patient.birth_given)}^{t(patient.given_all)}^^^^L")
    if patient.used_family:
        values.append(f"PID-5|{t(patient.used_family)}^{t(patient.used_given)}^^^^^D")
    if patient.birth_time:
        values.append(f"PID-7|{patient.birth_time[:8]}")
    if patient.gender:
        values.append(f"PID-8|{patient.gender if patient.gender in ('M', 'F') else 'U'}")
    if patient.birthplace_code:
        values.append(f"PID-11|^^^^^^BDL^^{t(patient.birthplace_code)}")
    return tuple(values)


def _events(header: CdaHeader) -> tuple[XdsCode, ...]:
    """eventCodeList: every act documented, and what imaging says beside it: CCAM act, modality, region."""
    codes = (c for e in header.events for c in (e.code, *e.translations) if c is not None and c.code)
    return tuple(dict.fromkeys(map(_as_xds, codes)))


def _references(header: CdaHeader) -> tuple[str, ...]:
    """referenceIdList: orders and accession numbers (JDV_J231)."""
    orders = (formats.cx_of(i, _ORDER) for i in header.order_ids)
    accessions = (formats.cx_of(i, _ACCESSION) for i in header.accession_ids)
    return tuple(dict.fromkeys((*orders, *accessions)))
