"""Transmission: what a DPI asks for, whatever message (MDM or ORU) it used to say it.

Purpose: the one shape that the CDA checks, the version rules and the connectors read. Pure data, no I/O.
Source: volet "Transmission d'un document CDA-R2 en HL7v2" v2.1.2 (spec/hl7-transmission.md).
Built by `gateway.hl7.profile.read_transmission`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import Place

INS_NIR = "1.2.250.1.213.1.4.8"
INS_NIA = "1.2.250.1.213.1.4.9"
INS_TEST = "1.2.250.1.213.1.4.10"
INS_DEMO = "1.2.250.1.213.1.4.11"
INS_OIDS = frozenset({INS_NIR, INS_NIA, INS_TEST, INS_DEMO})
PATIENT_DOMAIN = "patient.mssante.fr"


class Action(StrEnum):
    """What is asked for. MDM: the event; ORU: OBX-11 (F, C, D)."""

    SUBMIT = "submit"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: HL7 CWE.1-3 or CDA code/codeSystem/displayName."""

    code: str
    label: str = ""
    system: str = ""


@dataclass(frozen=True, slots=True)
class InstanceId:
    """A CDA/HL7 instance identifier. `str()` is `root` or `root^extension`, the key used everywhere."""

    root: str
    extension: str | None = None

    def __str__(self) -> str:
        return f"{self.root}^{self.extension}" if self.extension else self.root


@dataclass(frozen=True, slots=True)
class PatientId:
    """One repetition of PID-3 (CX): value, OID of the assigning authority, identifier type (INS, NH, PI…)."""

    value: str
    authority: str
    type: str
    authority_name: str = ""

    @property
    def is_ins(self) -> bool:
        """True for a national identity (NIR, NIA, test or demonstration domain)."""
        return self.authority in INS_OIDS


@dataclass(frozen=True, slots=True)
class Patient:
    """PID as sent. Dates are HL7 strings (YYYYMMDD…)."""

    identifiers: tuple[PatientId, ...]
    birth_family: str = ""
    birth_given: str = ""
    """PID-5.2 of the repetition of type L."""
    used_family: str = ""
    birth_date: str = ""
    sex: str = ""
    identity_status: str = ""
    """PID-32; VALI is a qualified identity."""

    @property
    def ins(self) -> PatientId | None:
        """The national identity among PID-3, or None."""
        return next((i for i in self.identifiers if i.is_ins), None)


@dataclass(frozen=True, slots=True)
class Person:
    """PRT-5 (XCN)."""

    id: str
    family: str
    given: str
    authority: str
    """OID of PRT-5.9 (sub-component 2, or the whole component when it is an OID)."""
    id_type: str
    """PRT-5.13: RPPS, IDNPS, EI, INS…"""


@dataclass(frozen=True, slots=True)
class Organisation:
    """PRT-8 (XON)."""

    name: str
    authority: str
    id_type: str
    """PRT-8.7: FINEG, FINEJ, IDNST, UF…"""
    number: str
    """PRT-8.10."""


@dataclass(frozen=True, slots=True)
class Party:
    """One PRT segment: the sender (SB), a recipient (RCT) or a reply address (REPLY)."""

    place: Place
    person: Person | None = None
    organisation: Organisation | None = None
    device: str | None = None
    """PRT-10.1."""
    address: str | None = None
    """PRT-15.4: MSSanté address."""

    @property
    def is_patient(self) -> bool:
        """True when the address is in the patients' domain (Mon espace santé)."""
        domain = (self.address or "").lower().rpartition("@")[2]
        return domain == PATIENT_DOMAIN or domain.endswith("." + PATIENT_DOMAIN)


@dataclass(frozen=True, slots=True)
class Flags:
    """The metadata OBX (…^MetaDMPMSS): Y is True."""

    masque_ps: bool = False
    invisible_patient: bool = False
    invisible_rep_legaux: bool = False
    connexion_secrete: bool = False
    modif_conf_code: bool = False
    dest_dmp: bool = False
    dest_mssante_ps: bool = False
    dest_mssante_pat: bool = False
    ack_reception: bool = False
    ack_lecture_mss: bool = False


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """One document OBX of the message, before its CDA is read.

    `offset` and `length` locate OBX-5.5 (the base64 text) in the message's bytes: the document is never
    copied as text, and the journal can give it back from the message that brought it.
    """

    place: Place
    """The OBX (its occurrence among OBX)."""
    type: Code
    """OBX-3."""
    status: str
    """OBX-11: F, C or D."""
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class MailBody:
    """CORPSMAIL_PS or CORPSMAIL_PATIENT, decoded to text."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Transmission:
    """What the DPI asks for. Everything is as sent; nothing is guessed."""

    control_id: str
    """MSH-10."""
    message_type: str
    """MDM or ORU."""
    event: str
    """T02, T04, T10 or R01."""
    version: str
    """MSH-12.1."""
    processing_id: str
    """MSH-11: P, T or D."""
    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str
    """MSH-3.1 to MSH-6.1."""
    action: Action
    patient: Patient
    patient_class: str
    """PV1-2."""
    visit_number: PatientId | None
    """PV1-19."""
    account_number: PatientId | None
    """PID-18."""
    document_type: Code
    """OBR-4."""
    document_id: InstanceId | None
    """TXA-12 (MDM only)."""
    replaced_id: InstanceId | None
    """TXA-13 (MDM only)."""
    parts: tuple[DocumentPart, ...]
    sender: Party | None
    recipients: tuple[Party, ...]
    reply_to: tuple[str, ...]
    flags: Flags
    body_ps: MailBody | None = None
    body_patient: MailBody | None = None
    patient_may_not_answer: bool = False
    """NTE-4 = FIN after DESTMSSANTEPAT."""
    sent_at: str = ""
    """MSH-7."""
    stay_kind: str = ""
    """PV1-21."""
    admitted_at: str = ""
    """PV1-44."""
    discharged_at: str = ""
    """PV1-45."""

    @property
    def recipients_ps(self) -> tuple[Party, ...]:
        """Recipients outside the patients' domain."""
        return tuple(r for r in self.recipients if r.address and not r.is_patient)

    @property
    def recipients_patient(self) -> tuple[Party, ...]:
        """Recipients in the patients' domain."""
        return tuple(r for r in self.recipients if r.address and r.is_patient)
